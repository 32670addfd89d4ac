// One producer and one consumer at the same time: as threads, and as processes, one of which is killed.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "ring_fixture.hpp"
#include "support/aligned_memory.hpp"
#include "support/child.hpp"
#include "support/sanitizer.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kSmallRing = 4096;
constexpr std::uint64_t kLargeRing = 65536;  // its producer seldom waits

// A ring with its one shared position, as a channel has it.
struct SharedRing {
  alignas(kLinePair) Word consumed;
  alignas(kLinePair) Word begun;      // records that the producer has begun
  alignas(kLinePair) Word published;  // and those that it has published
  alignas(kLinePair) Word stop;       // 1: the test has failed, and no record is taken any more
  std::uint64_t capacity;
  alignas(kPageSize) std::byte memory[kLargeRing];

  RingView view() { return {memory, capacity, kNonce}; }
};

SharedRing& make_ring(const AlignedMemory& memory, std::uint64_t capacity) {
  auto& ring = memory.at<SharedRing>(0);
  ring.capacity = capacity;
  return ring;
}

void produce_records(SharedRing& ring, std::uint64_t count, Random random) {
  RingProducer producer(ring.view(), 0);
  std::uint64_t consumed = 0;
  for (std::uint64_t number = 0; number < count; ++number) {
    const ProvenRecord record{number, 16 * random.between(1, max_record_bytes(ring.capacity) / 16)};
    while (!producer.has_room(record.size, consumed)) {
      consumed = ring.consumed.load(std::memory_order_acquire);
      if (ring.stop.load(std::memory_order_relaxed) != 0) return;
      if (!producer.has_room(record.size, consumed)) std::this_thread::yield();
    }
    ring.begun.store(number + 1, std::memory_order_relaxed);
    produce(producer, record);
    ring.published.store(number + 1, std::memory_order_relaxed);
  }
}

// Takes records while there are some, and checks that their numbers are consecutive and that each one is whole.
class Checker {
 public:
  explicit Checker(SharedRing& ring) : ring_(ring), consumer_(ring.view(), 0) {}

  // False: there was none.
  bool take() {
    if (!consumer_.poll()) return false;
    const auto record = consume(consumer_);
    if (!record || record->number != next_) {
      ADD_FAILURE() << "record " << next_ << (record ? " is missing" : " is torn") << " at " << consumer_.position();
      failed_ = true;
      return false;
    }
    ++next_;
    // Not after each record, because the producer must also find a full ring.
    if (next_ % 7 == 0) give_back();
    return true;
  }
  void give_back() { ring_.consumed.store(consumer_.position(), std::memory_order_release); }
  std::uint64_t taken() const { return next_; }
  bool failed() const { return failed_; }

 private:
  SharedRing& ring_;
  RingConsumer consumer_;
  std::uint64_t next_ = 0;
  bool failed_ = false;
};

void stream_between_threads(std::uint64_t records) {
  const AlignedMemory memory(sizeof(SharedRing));
  SharedRing& ring = make_ring(memory, kSmallRing);
  Random random;
  std::thread producer([&ring, records, seed = random.word()] { produce_records(ring, records, Random(seed)); });
  Checker checker(ring);
  while (checker.taken() < records && !checker.failed()) {
    if (!checker.take()) {
      checker.give_back();
      std::this_thread::yield();
    }
  }
  if (checker.failed()) ring.stop.store(1);
  producer.join();
  EXPECT_EQ(checker.taken(), records);
  EXPECT_FALSE(checker.take()) << "more than was sent";
}

TEST(RingThreadsTest, AHundredThousandRecordsArriveWholeAndInOrder) { stream_between_threads(100'000); }

TEST(RingThreadsSlowTest, AMillionRecordsArriveWholeAndInOrder) { stream_between_threads(1'000'000); }

TEST(RingProcessesTest, AHundredThousandRecordsArriveWholeAndInOrder) {
  constexpr std::uint64_t kRecords = 100'000;
  const AlignedMemory memory(sizeof(SharedRing));
  SharedRing& ring = make_ring(memory, kSmallRing);
  Random random;
  Child producer = Child::fork([&ring, seed = random.word()] {
    produce_records(ring, kRecords, Random(seed));
    return 0;
  });
  Checker checker(ring);
  while (checker.taken() < kRecords && !checker.failed()) {
    if (checker.take()) continue;
    checker.give_back();
    std::this_thread::yield();
  }
  if (checker.failed()) ring.stop.store(1);
  EXPECT_EQ(producer.wait(), kSuccess);
  EXPECT_EQ(checker.taken(), kRecords);
}

// The checker is tested, too: it must detect a producer that publishes before it has written.
TEST(RingThreadsTest, ATagStoredTooEarlyIsCaught) {
  const AlignedMemory memory(sizeof(SharedRing));
  SharedRing& ring = make_ring(memory, kSmallRing);
  RingProducer producer(ring.view(), 0);
  const ProvenRecord record{0, 64};
  std::byte* begun = producer.begin(record.size);
  record.write(begun);
  begun[40] ^= std::byte{0xff};
  producer.publish(record.size);
  RingConsumer consumer(ring.view(), 0);
  ASSERT_TRUE(consumer.poll());
  EXPECT_FALSE(consume(consumer));
}

// A client is killed before, while and after writing a message. What the server receives is a prefix without a gap: all
// published records, and possibly the one that was being written, each one whole. If a producer seldom runs (a sanitizer on
// a busy machine), more kills are needed until one happens while a record is written.
void kill_producers(int kills) {
  Random random;
  int mid_stream = 0;
  for (int i = 0; i < kills || (mid_stream == 0 && i < 50 * kills); ++i) {
    const AlignedMemory memory(sizeof(SharedRing));
    SharedRing& ring = make_ring(memory, kLargeRing);
    const std::uint64_t seed = random.word();
    Child producer = Child::fork([&ring, seed] {
      produce_records(ring, ~std::uint64_t{0}, Random(seed));
      return 0;
    });
    Checker checker(ring);
    const std::uint64_t until = random.below(200);
    while (checker.taken() < until && !checker.failed()) {
      if (checker.take()) continue;
      checker.give_back();
      std::this_thread::yield();
    }
    checker.give_back();  // or the kill would find a producer that waits for room
    for (std::uint64_t pauses = random.below(300); pauses > 0; --pauses) cpu_relax();
    producer.send(SIGKILL);
    ASSERT_EQ(producer.wait(), killed_by(SIGKILL));
    while (checker.take()) {
    }
    ASSERT_FALSE(checker.failed()) << "kill " << i;
    const std::uint64_t published = ring.published.load();
    const std::uint64_t begun = ring.begun.load();
    ASSERT_GE(checker.taken(), published) << "kill " << i << ": a published record is lost";
    ASSERT_LE(checker.taken(), begun) << "kill " << i;
    if (begun > published) ++mid_stream;
  }
  EXPECT_GT(mid_stream, 0) << "no kill happened while a record was written";
}

TEST(RingKillTest, AfterAKilledProducerTheRecordsAreAPrefixAndWhole) { kill_producers(times(500, 50)); }

TEST(RingKillSlowTest, AfterAKilledProducerTheRecordsAreAPrefixAndWhole) { kill_producers(times(5'000, 1000)); }
TEST(RingKillSoakTest, AfterAKilledProducerTheRecordsAreAPrefixAndWhole) { kill_producers(100'000); }

// The consumer's death loses nothing either: its successor continues at its position.
TEST(RingKillTest, ANewConsumerContinuesWhereTheKilledOneStopped) {
  Random random;
  for (int i = 0; i < times(50, 10); ++i) {
    const AlignedMemory memory(sizeof(SharedRing));
    SharedRing& ring = make_ring(memory, kSmallRing);
    auto& taken = ring.begun;  // by the first consumer; this test's producer has no use for it
    constexpr std::uint64_t kRecords = 40;
    RingProducer producer(ring.view(), 0);
    std::uint64_t sent = 0;
    while (sent < kRecords && producer.has_room(64, 0)) produce(producer, {sent++, 64});
    Child consumer = Child::fork([&] {
      RingConsumer first(ring.view(), 0);
      while (first.poll() && consume(first)) {
        taken.fetch_add(1);
        ring.consumed.store(first.position(), std::memory_order_release);
        for (int pauses = 0; pauses < 10; ++pauses) cpu_relax();
      }
      return ::pause();
    });
    while (taken.load() < random.below(sent)) {
    }
    consumer.kill_and_wait();
    RingConsumer second(ring.view(), ring.consumed.load());
    std::uint64_t expected = ring.consumed.load() / 64;
    ASSERT_LE(taken.load() - expected, 1u);
    while (second.poll()) {
      const auto record = consume(second);
      ASSERT_TRUE(record);
      ASSERT_EQ(record->number, expected++);
    }
    ASSERT_EQ(expected, sent);
  }
}

}  // namespace
}  // namespace hostmap::test
