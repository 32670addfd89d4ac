#include "buffer/ring.hpp"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>

#include "ring_fixture.hpp"
#include "support/aligned_memory.hpp"
#include "support/seed.hpp"
#include "support/stepper.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kCapacity = 256;

class RingTest : public testing::Test {
 protected:
  const AlignedMemory memory_{kPageSize};
  const RingView view_{memory_.data(), kCapacity, kNonce};
  RingProducer producer_{view_, 0};
  RingConsumer consumer_{view_, 0};
};

TEST_F(RingTest, FreshMemoryHoldsNoRecord) { EXPECT_FALSE(consumer_.poll()); }

TEST_F(RingTest, ARecordIsReadAsItWasWritten) {
  produce(producer_, {7, 48});
  ASSERT_TRUE(consumer_.poll());
  EXPECT_TRUE(consumer_.poll()) << "a second poll changes nothing";
  EXPECT_EQ(consumer_.position(), 0u);
  const auto record = consume(consumer_);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->number, 7u);
  EXPECT_EQ(consumer_.position(), 48u);
  EXPECT_EQ(producer_.head(), 48u);
  EXPECT_FALSE(consumer_.poll());
}

TEST_F(RingTest, RecordsComeInTheOrderInWhichTheyWerePublished) {
  for (std::uint64_t i = 0; i < 5; ++i) produce(producer_, {i, 48});
  for (std::uint64_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(consumer_.poll());
    EXPECT_EQ(consume(consumer_)->number, i);
  }
  EXPECT_FALSE(consumer_.poll());
}

TEST_F(RingTest, ABegunRecordIsNotSeen) {
  ProvenRecord{1, 64}.write(producer_.begin(64));
  EXPECT_FALSE(consumer_.poll());
  producer_.publish(64);
  EXPECT_TRUE(consumer_.poll());
}

// A producer is killed at every instruction: there is no record, or a whole one.
TEST_F(RingTest, ARecordIsSeenOnlyOnceItsTagIsStored) {
  int without = 0;
  int with = 0;
  const std::uint64_t steps = step_through(
      [this] {
        produce(producer_, {3, 80});
      },
      [&](std::uint64_t step) {
        RingConsumer reader(view_, 0);
        if (!reader.poll()) {
          ++without;
          return;
        }
        ++with;
        const auto record = consume(reader);
        ASSERT_TRUE(record) << "torn at step " << step;
        ASSERT_EQ(record->number, 3u);
      });
  EXPECT_GT(steps, 20u);
  EXPECT_GT(without, 10);
  EXPECT_GT(with, 0);
}

// The same if the record does not fit before the end: padding comes first, and no invalid record is visible at any moment.
TEST_F(RingTest, PaddingAndTheRecordAfterItAreSeenOnlyTogether) {
  produce(producer_, {1, 240});
  consumer_.advance(240);
  int without = 0;
  int with = 0;
  const std::uint64_t steps = step_through(
      [this] {
        produce(producer_, {2, 48});
      },
      [&](std::uint64_t step) {
        RingConsumer reader(view_, 240);
        if (!reader.poll()) {
          ++without;
          return;
        }
        ++with;
        const auto record = consume(reader);
        ASSERT_TRUE(record) << "torn at step " << step;
        ASSERT_EQ(record->number, 2u);
        ASSERT_EQ(reader.position(), 256u + 48u);
      });
  EXPECT_GT(steps, 20u);
  EXPECT_GT(without, 10);
  EXPECT_GT(with, 0);
}

TEST_F(RingTest, ARecordNeverStraddlesTheEndOfTheMemory) {
  for (std::uint64_t first = 16; first <= 240; first += 16) {
    for (std::uint64_t second = 16; second <= 128; second += 16) {
      std::memset(memory_.data(), 0, kCapacity);  // or the last round's tags would be valid
      RingProducer producer(view_, kCapacity);
      RingConsumer consumer(view_, kCapacity);
      produce(producer, {1, first});
      ASSERT_TRUE(consumer.poll());
      ASSERT_TRUE(consume(consumer));
      const bool fits = first + second <= kCapacity;
      ASSERT_EQ(producer.needed(second), fits ? second : kCapacity - first + second);
      ASSERT_TRUE(producer.has_room(second, consumer.position()));
      std::byte* begun = producer.begin(second);
      ASSERT_EQ(begun, memory_.data() + (fits ? first : 0));
      ASSERT_FALSE(consumer.poll()) << "padding alone is not a record";
      ProvenRecord{2, second}.write(begun);
      producer.publish(second);
      ASSERT_TRUE(consumer.poll());
      ASSERT_EQ(consume(consumer)->number, 2u);
      ASSERT_EQ(producer.head(), consumer.position());
    }
  }
}

TEST_F(RingTest, TheLimitReachesToTheEndOfTheMemory) {
  produce(producer_, {1, 96});
  ASSERT_TRUE(consumer_.poll());
  EXPECT_EQ(consumer_.limit(), kCapacity);
  consumer_.advance(96);
  produce(producer_, {2, 16});
  ASSERT_TRUE(consumer_.poll());
  EXPECT_EQ(consumer_.limit(), kCapacity - 96);
  EXPECT_EQ(consumer_.record(), memory_.data() + 96);
}

TEST_F(RingTest, RoomIsWhatTheConsumerHasPublished) {
  for (int i = 0; i < 4; ++i) produce(producer_, {1, 64});
  EXPECT_FALSE(producer_.has_room(16, 0)) << "full";
  EXPECT_FALSE(producer_.has_room(64, 48));
  EXPECT_TRUE(producer_.has_room(64, 64)) << "exactly as much as was consumed";
  EXPECT_FALSE(producer_.has_room(80, 64));
  EXPECT_TRUE(producer_.has_room(256, 256));
  EXPECT_FALSE(producer_.has_room(272, 256)) << "larger than the ring";
}

// A hostile consumer can publish any position: this never makes room beyond the ring's own size.
TEST_F(RingTest, APositionBeyondTheHeadGivesNoRoom) {
  for (int i = 0; i < 4; ++i) produce(producer_, {1, 64});
  for (const std::uint64_t consumed : {producer_.head() + 4096, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    EXPECT_FALSE(producer_.has_room(64, consumed)) << consumed;
  }
}

TEST_F(RingTest, APeerThatPadsForeverCostsTwoLoadsAPoll) {
  std::uint64_t position = 0;
  for (int i = 0; i < 8; ++i) {  // padding at the start of the memory: skips all of it
    view_.word(position).store(view_.tag(position), std::memory_order_relaxed);
    RingConsumer consumer(view_, position);
    EXPECT_FALSE(consumer.poll());
    position += kCapacity;
    EXPECT_LE(consumer.position(), position + kCapacity);
  }
}

// Positions have 64 bits and are never reset; wrapping after 2^64 bytes has no effect.
TEST_F(RingTest, PositionsMayWrapAround) {
  const std::uint64_t begin = 0 - 3 * kCapacity;
  RingProducer producer(view_, begin);
  RingConsumer consumer(view_, begin);
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(producer.has_room(80, consumer.position()));
    produce(producer, {i, 80});
    ASSERT_TRUE(consumer.poll());
    ASSERT_EQ(consume(consumer)->number, i);
  }
  EXPECT_LT(consumer.position(), begin) << "it did wrap";
}

TEST_F(RingTest, TheBytesAroundTheMemoryAreNeverTouched) {
  Random random;
  for (const std::uint64_t capacity : {64u, 128u, 256u, 1024u}) {
    // The page after the ring faults, and canaries are before the ring.
    std::byte* begin = memory_.end() - capacity;
    std::memset(memory_.data(), 0xcc, memory_.bytes() - capacity);
    const RingView view(begin, capacity, kNonce);
    RingProducer producer(view, 0);
    RingConsumer consumer(view, 0);
    for (std::uint64_t i = 0; i < 2000; ++i) {
      const std::uint64_t size = 16 * random.between(1, std::max<std::uint64_t>(1, capacity / 64));
      ASSERT_TRUE(producer.has_room(size, consumer.position()));
      produce(producer, {i, size});
      ASSERT_TRUE(consumer.poll());
      ASSERT_TRUE(consume(consumer));
    }
    for (const std::byte* at = memory_.data(); at < begin; ++at) ASSERT_EQ(*at, std::byte{0xcc});
    std::memset(begin, 0, capacity);
  }
}

}  // namespace
}  // namespace hostmap::test
