// All sequences of a few operations on small rings, compared with a queue. Payloads are the worst that a correct producer
// can send: every word is a valid tag of an earlier position.
#include <array>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <memory>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "ring_fixture.hpp"
#include "support/sanitizer.hpp"

namespace hostmap::test {
namespace {

enum class Operation { kProduce16, kProduce32, kProduce48, kConsume, kPublishConsumed };
constexpr std::array kOperations{Operation::kProduce16, Operation::kProduce32, Operation::kProduce48,
                                 Operation::kConsume, Operation::kPublishConsumed};

template <std::uint64_t kCapacity>
class World {
 public:
  explicit World(std::uint64_t begin)
      : producer_(RingView(memory_.data(), kCapacity, kNonce), begin),
        consumer_(RingView(memory_.data(), kCapacity, kNonce), begin),
        consumed_(begin) {}

  // Runs every sequence of `depth` operations from the present state.
  void explore(unsigned depth) {
    check();
    if (depth == 0 || testing::Test::HasFatalFailure()) return;
    for (const Operation operation : kOperations) {
      const auto memory = memory_;
      const RingProducer producer = producer_;
      const RingConsumer consumer = consumer_;
      const std::deque<ProvenRecord> model = model_;
      const std::uint64_t consumed = consumed_;
      const std::uint64_t next = next_;
      if (apply(operation)) explore(depth - 1);
      memory_ = memory;
      producer_ = producer;
      consumer_ = consumer;
      model_ = model;
      consumed_ = consumed;
      next_ = next;
    }
  }

  std::uint64_t states() const { return states_; }
  std::uint64_t paddings() const { return paddings_; }
  std::uint64_t refusals() const { return refusals_; }

 private:
  // False: the operation leads to no new state.
  bool apply(Operation operation) {
    switch (operation) {
      case Operation::kProduce16:
        return produce_one(16);
      case Operation::kProduce32:
        return produce_one(32);
      case Operation::kProduce48:
        return produce_one(48);
      case Operation::kConsume: {
        const bool found = consumer_.poll();
        EXPECT_EQ(found, !model_.empty());
        if (!found || model_.empty()) return false;
        check_record(model_.front());
        consumer_.advance(model_.front().size);
        model_.pop_front();
        return true;
      }
      case Operation::kPublishConsumed:
        if (consumed_ == consumer_.position()) return false;
        consumed_ = consumer_.position();
        return true;
    }
    return false;
  }

  bool produce_one(std::uint64_t size) {
    // Room, by definition: the bytes that are not yet consumed, and the record with the rest before the end, must fit.
    const std::uint64_t left = kCapacity - producer_.head() % kCapacity;
    const std::uint64_t takes = size <= left ? size : left + size;
    const bool room = producer_.head() - consumed_ + takes <= kCapacity;
    EXPECT_EQ(producer_.has_room(size, consumed_), room);
    if (!room) {
      ++refusals_;
      return false;
    }
    if (size > left) ++paddings_;
    const ProvenRecord record{next_++, size};
    std::byte* begun = producer_.begin(size);
    fill(record, begun);
    producer_.publish(size);
    model_.push_back(record);
    return true;
  }

  // Each payload word is the tag that this place had, or would have had, one or more rounds ago.
  void fill(const ProvenRecord& record, std::byte* begun) {
    const std::uint64_t head = record.header();
    std::memcpy(begun + 8, &head, sizeof head);
    for (std::uint64_t at = kRecordHeadBytes; at < record.size; at += 8) {
      const std::uint64_t rounds = 1 + at / 8 % 2;
      const std::uint64_t stale = ring_tag(producer_.head() + at - rounds * kCapacity, kNonce);
      std::memcpy(begun + at, &stale, sizeof stale);
    }
  }

  void check_record(const ProvenRecord& expected) {
    std::uint64_t head;
    std::memcpy(&head, consumer_.record() + 8, sizeof head);
    ASSERT_EQ(head, expected.header()) << "record " << expected.number;
    ASSERT_LE(expected.size, consumer_.limit());
    for (std::uint64_t at = kRecordHeadBytes; at < expected.size; at += 8) {
      std::uint64_t word;
      std::memcpy(&word, consumer_.record() + at, sizeof word);
      const std::uint64_t rounds = 1 + at / 8 % 2;
      ASSERT_EQ(word, ring_tag(consumer_.position() + at - rounds * kCapacity, kNonce));
    }
  }

  // All published records are still there, in order, and nothing after them.
  void check() {
    ++states_;
    RingConsumer reader = consumer_;
    for (const ProvenRecord& expected : model_) {
      ASSERT_TRUE(reader.poll()) << "record " << expected.number << " is lost";
      std::uint64_t head;
      std::memcpy(&head, reader.record() + 8, sizeof head);
      ASSERT_EQ(head, expected.header());
      reader.advance(expected.size);
    }
    ASSERT_FALSE(reader.poll()) << "a record that was not sent";
    ASSERT_EQ(reader.position() % 16, 0u);
    ASSERT_LE(producer_.head() - consumed_, kCapacity);
  }

  alignas(64) std::array<std::byte, kCapacity> memory_{};
  RingProducer producer_;
  RingConsumer consumer_;
  std::deque<ProvenRecord> model_;
  std::uint64_t consumed_;  // as the producer has loaded it
  std::uint64_t next_ = 0;
  std::uint64_t states_ = 0;
  std::uint64_t paddings_ = 0;
  std::uint64_t refusals_ = 0;
};

template <std::uint64_t kCapacity>
void explore_all(unsigned depth, std::uint64_t least_states) {
  // From position 0, and from positions that wrap.
  for (const std::uint64_t begin : {std::uint64_t{0}, 0 - 2 * kCapacity}) {
    const auto world = std::make_unique<World<kCapacity>>(begin);
    world->explore(depth);
    EXPECT_GT(world->states(), least_states);
    EXPECT_GT(world->paddings(), 0u);
    EXPECT_GT(world->refusals(), 0u);
  }
}

TEST(RingExhaustiveTest, Capacity64) { explore_all<64>(12, 50'000); }

TEST(RingExhaustiveTest, Capacity128) { explore_all<128>(10, 50'000); }

TEST(RingExhaustiveTest, Capacity256) { explore_all<256>(9, 50'000); }

TEST(RingExhaustiveSlowTest, Capacity64) { explore_all<64>(times(18u, 14u), 100'000); }

TEST(RingExhaustiveSlowTest, Capacity128) { explore_all<128>(times(13u, 11u), 100'000); }

TEST(RingExhaustiveSlowTest, Capacity256) { explore_all<256>(times(11u, 10u), 100'000); }

}  // namespace
}  // namespace hostmap::test
