#include "harness/bare_ring.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "base/platform.hpp"
#include "buffer/ring.hpp"
#include "harness/batches.hpp"
#include "harness/process.hpp"
#include "layout/connection.hpp"

namespace hostmap::bench {
namespace {

constexpr std::uint64_t kRingBytes = 65536;  // the server's default
constexpr std::uint64_t kNonce = 0x1234'5678'9abc'def1;
constexpr std::uint64_t kRequestBytes = record_bytes(16);
constexpr std::uint64_t kAnswerBytes = record_bytes(0);
// Where records are answered, no end publishes how far it has read: the unanswered records always find room.
static_assert(kMostUnanswered * kRequestBytes < kRingBytes);

/// What a record carries.
struct Pair {
  std::uint64_t key;
  std::uint64_t value;
};

struct Rings {
  RingView requests() { return {request_bytes.data(), kRingBytes, kNonce}; }
  RingView answers() { return {answer_bytes.data(), kRingBytes, kNonce}; }

  alignas(4096) std::array<std::byte, kRingBytes> request_bytes{};
  alignas(4096) std::array<std::byte, kRingBytes> answer_bytes{};
};

void send(RingProducer& ring, Pair pair) {
  const std::array<std::uint64_t, 3> words{1, pair.key, pair.value};  // the header is any but that of padding
  std::memcpy(ring.begin(kRequestBytes) + 8, words.data(), sizeof words);
  ring.publish(kRequestBytes);
}

/// Waits for a record.
Pair take(RingConsumer& ring) {
  while (!ring.poll()) cpu_relax();
  Pair pair{};
  std::memcpy(&pair, ring.record() + kRecordHeadBytes, sizeof pair);
  ring.advance(kRequestBytes);
  return pair;
}

/// Answers `count` records; returns the sum of keys and values.
std::uint64_t serve(Rings& rings, std::uint64_t count) {
  RingConsumer requests(rings.requests(), 0);
  RingProducer answers(rings.answers(), 0);
  std::uint64_t sum = 0;
  for (std::uint64_t done = 0; done < count; ++done) {
    const Pair pair = take(requests);
    sum += pair.key + pair.value;
    const std::uint64_t header = 1;  // any but that of padding
    std::memcpy(answers.begin(kAnswerBytes) + 8, &header, sizeof header);
    answers.publish(kAnswerBytes);
  }
  return sum;
}

class Asker {
 public:
  explicit Asker(Rings& rings) : requests_(rings.requests(), 0), answers_(rings.answers(), 0) {}

  /// Sends `count` records of which `most` are unanswered at most; returns when all are answered.
  void ask(std::uint64_t count, std::uint64_t most) {
    for (std::uint64_t number = 0; number < count; ++number) {
      if (unanswered_ == most) await_answer();
      send(requests_, {.key = number, .value = number});
      sum_ += number + number;
      ++unanswered_;
    }
    while (unanswered_ > 0) await_answer();
  }
  [[nodiscard]] std::uint64_t sum() const { return sum_; }

 private:
  /// Waits for one answer, and takes all that are there.
  void await_answer() {
    while (!answers_.poll()) cpu_relax();
    do {
      answers_.advance(kAnswerBytes);
      --unanswered_;
    } while (unanswered_ > 0 && answers_.poll());
  }

  RingProducer requests_;
  RingConsumer answers_;
  std::uint64_t unanswered_ = 0;
  std::uint64_t sum_ = 0;
};

/// One way, without answers: the consumer publishes how far it has read once in a batch of a worker.
class Stream {
 public:
  void consume(std::uint64_t count) {
    RingConsumer requests(rings_.requests(), 0);
    for (std::uint64_t done = 0; done < count; ++done) {
      const Pair pair = take(requests);
      arrived_ += pair.key + pair.value;
      if ((done + 1) % kPublished == 0) consumed_.store(requests.position(), std::memory_order_release);
    }
    consumed_.store(requests.position(), std::memory_order_release);
  }
  /// Returns when `count` more have been consumed, except what the consumer has not published yet.
  void produce(std::uint64_t count) {
    for (std::uint64_t number = 0; number < count; ++number) {
      while (!requests_.has_room(kRequestBytes, seen_)) look();
      send(requests_, {.key = number, .value = number});
      sent_ += number + number;
    }
    while (seen_ + kPublished * kRequestBytes <= requests_.head()) look();
  }
  [[nodiscard]] bool whole() const { return arrived_ == sent_; }

 private:
  static constexpr std::uint64_t kPublished = 64;

  void look() {
    cpu_relax();
    seen_ = consumed_.load(std::memory_order_acquire);
  }

  Rings rings_;
  alignas(kLinePair) std::atomic<std::uint64_t> consumed_{0};
  alignas(kLinePair) RingProducer requests_{rings_.requests(), 0};
  std::uint64_t seen_ = 0;
  std::uint64_t sent_ = 0;
  alignas(kLinePair) std::uint64_t arrived_ = 0;
};

/// Runs both ends, each on its CPU; nanoseconds of a record, in batches of ask(records).
template <typename Serve, typename Ask>
double run_ends(std::pair<int, int> cpus, std::uint64_t count, const Serve& serve, const Ask& ask) {
  double nanoseconds = 0;
  std::jthread server([&] {
    pin_to(cpus.first);
    serve(operations_of_batches(count));
  });
  std::jthread client([&] {
    pin_to(cpus.second);
    nanoseconds = time_batches(count, ask);
  });
  client.join();
  server.join();
  return nanoseconds;
}

void check(bool whole) {
  if (!whole) throw std::runtime_error("bare ring: what arrived is not what was sent");
}

double measure(std::pair<int, int> cpus, std::uint64_t count, std::uint64_t most_unanswered) {
  Rings rings;
  Asker asker(rings);
  std::uint64_t arrived = 0;
  const double nanoseconds = run_ends(
      cpus, count, [&](std::uint64_t records) { arrived = serve(rings, records); },
      [&](std::uint64_t records) { asker.ask(records, most_unanswered); });
  check(arrived == asker.sum());
  return nanoseconds;
}

}  // namespace

double bare_ring_round_trip(std::pair<int, int> cpus, std::uint64_t count) { return measure(cpus, count, 1); }

double bare_ring_pipelined(std::pair<int, int> cpus, std::uint64_t count) {
  return measure(cpus, count, kMostUnanswered);
}

double bare_ring_stream(std::pair<int, int> cpus, std::uint64_t count) {
  Stream stream;
  const double nanoseconds = run_ends(
      cpus, count, [&](std::uint64_t records) { stream.consume(records); },
      [&](std::uint64_t records) { stream.produce(records); });
  check(stream.whole());
  return nanoseconds;
}

}  // namespace hostmap::bench
