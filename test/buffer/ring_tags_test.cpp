// Invariant 1 of the ring: at each place, only the record of its position has its tag.
#include <gtest/gtest.h>
#include <unordered_set>
#include <vector>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "ring_fixture.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

// The inverse of an odd number modulo 2^64, by Newton's method.
constexpr std::uint64_t inverse(std::uint64_t odd) {
  std::uint64_t x = odd;
  for (int i = 0; i < 6; ++i) x *= 2 - odd * x;
  return x;
}
static_assert(inverse(kTagFactor) * kTagFactor == 1);

TEST(RingTagTest, EveryTagShowsItsPosition) {
  Random random;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t position = random.word() & ~std::uint64_t{15};
    const std::uint64_t nonce = random.word() | 1;
    // So no two positions have one tag: neither two rounds of a place, nor any others.
    ASSERT_EQ((ring_tag(position, nonce) ^ nonce) * inverse(kTagFactor), position);
  }
}

TEST(RingTagTest, ATagIsOddAndSoNeverTheZeroOfFreshMemory) {
  Random random;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t position = random.word() & ~std::uint64_t{15};
    ASSERT_EQ(ring_tag(position, random.word() | 1) & 1, 1u);
  }
}

// Invariant 1 about guessing: positions are multiples of 16, so the low 4 bits are those of the nonce. 60 bits are left.
TEST(RingTagTest, OnlySixtyBitsDependOnThePosition) {
  Random random;
  std::uint64_t seen = 0;
  const std::uint64_t nonce = random.word() | 1;
  for (std::uint64_t round = 0; round < 1000; ++round) {
    seen |= ring_tag(round * kRecordUnit, nonce) ^ ring_tag(0, nonce);
  }
  EXPECT_EQ(seen, ~std::uint64_t{15});
}

TEST(RingTagTest, NoStaleTagOfAPlaceIsEverItsPresentOne) {
  Random random;
  for (const std::uint64_t capacity : {std::uint64_t{64}, std::uint64_t{65536}}) {
    const std::uint64_t nonce = random.word() | 1;
    for (std::uint64_t place = 0; place < 256; place += kRecordUnit) {
      std::unordered_set<std::uint64_t> tags;
      for (std::uint64_t round = 0; round < 4096; ++round) {
        ASSERT_TRUE(tags.insert(ring_tag(place + round * capacity, nonce)).second);
      }
    }
  }
}

// A connection's memory may have belonged to another connection. That one had another nonce, so its tags are not valid here.
TEST(RingTagTest, TheTagsOfAnotherNonceAreNoneHere) {
  Random random;
  constexpr std::uint64_t kCapacity = 1024;
  for (int trial = 0; trial < 200; ++trial) {
    alignas(64) std::byte memory[kCapacity] = {};
    const std::uint64_t old_nonce = random.word() | 1;
    const std::uint64_t new_nonce = random.word() | 1;
    RingProducer before(RingView(memory, kCapacity, old_nonce), 0);
    for (std::uint64_t i = 0; i < 200; ++i) produce(before, {i, 16 * random.between(1, 4)});
    for (std::uint64_t position = 0; position < 4 * kCapacity; position += kRecordUnit) {
      RingConsumer consumer(RingView(memory, kCapacity, new_nonce), position);
      ASSERT_FALSE(consumer.poll());
    }
  }
}

// --- Payloads of forged tags -----------------------------------------------------------------------------------------

// Sends records whose payload words are the result of `forge` for each position, and expects that the consumer gets exactly
// the records that were sent. Returns the number of other records that it saw.
template <typename Forge>
int phantoms(std::uint64_t capacity, int records, Random& random, Forge&& forge) {
  std::vector<std::uint64_t> memory(capacity / 8);
  const RingView view(reinterpret_cast<std::byte*>(memory.data()), capacity, kNonce);
  RingProducer producer(view, 0);
  RingConsumer consumer(view, 0);
  int found = 0;
  for (int i = 0; i < records; ++i) {
    const std::uint64_t size = 16 * random.between(2, capacity / 64);
    std::byte* begun = producer.begin(size);
    const std::uint64_t head = ProvenRecord{static_cast<std::uint64_t>(i), size}.header();
    std::memcpy(begun + 8, &head, sizeof head);
    for (std::uint64_t at = kRecordHeadBytes; at < size; at += 8) {
      const std::uint64_t word = forge(producer.head() + at);
      std::memcpy(begun + at, &word, sizeof word);
    }
    producer.publish(size);
    EXPECT_TRUE(consumer.poll());
    consumer.advance(size);
    // There is nothing after the last record: neither now, nor at any place where the next one may begin.
    RingConsumer reader = consumer;
    if (reader.poll()) ++found;
    RingConsumer at_start(view, consumer.position() + view.until_end(consumer.position()));
    if (at_start.poll()) ++found;
    consumer = RingConsumer(view, producer.head());
  }
  return found;
}

TEST(RingForgeryTest, RightTagsOfEarlierPositionsDoNotPass) {
  Random random;
  for (const std::uint64_t capacity : {256u, 1024u, 4096u}) {
    EXPECT_EQ(phantoms(capacity, 20'000, random,
                       [&](std::uint64_t position) {
                         // Of this place in an earlier round, or of any earlier position.
                         const std::uint64_t back =
                             random.one_in(2) ? capacity * random.between(1, 8) : 16 * random.between(0, 1000);
                         return ring_tag((position & ~std::uint64_t{15}) - back, kNonce);
                       }),
              0)
        << capacity;
  }
}

TEST(RingForgeryTest, TagsOfLaterPositionsWithTheWrongNonceDoNotPass) {
  Random random;
  for (const std::uint64_t capacity : {256u, 1024u, 4096u}) {
    EXPECT_EQ(phantoms(capacity, 20'000, random,
                       [&](std::uint64_t position) {
                         const std::uint64_t wrong =
                             random.one_in(2) ? random.word() | 1 : kNonce ^ random.between(1, 15);
                         return ring_tag((position & ~std::uint64_t{15}) + capacity * random.between(1, 2), wrong);
                       }),
              0)
        << capacity;
  }
}

// The canary of the two tests above: a peer that has the nonce can forge the tag that its payload's place will have in the
// next round, and then a record appears that was not sent. Hence nonces are secret, and only the two ends can read a ring.
TEST(RingForgeryTest, APeerThatKnowsTheNonceCanForge) {
  Random random;
  EXPECT_GT(phantoms(1024, 20'000, random,
                     [](std::uint64_t position) { return ring_tag((position & ~std::uint64_t{15}) + 1024, kNonce); }),
            0);
}

// The canary for odd nonces: with an even nonce there are positions whose tag is the zero of fresh memory.
TEST(RingForgeryTest, AnEvenNonceLetsFreshMemoryPass) {
  alignas(64) std::byte memory[256] = {};
  constexpr std::uint64_t kPosition = 4096;
  RingConsumer consumer(RingView(memory, sizeof memory, kPosition * kTagFactor), kPosition);
  consumer.poll();
  EXPECT_NE(consumer.position(), kPosition) << "zeroes were taken for padding";
}

}  // namespace
}  // namespace hostmap::test
