// A server and its clients, reduced to the parts that wait: one worker, a ring pair for each client, and both handshakes of
// park.hpp. They do not spin, and no wait has a timeout: a lost wake-up hangs the test, and its watchdog reports it.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "message/codec.hpp"
#include "support/aligned_memory.hpp"
#include "wait/park.hpp"

namespace hostmap::test {

inline constexpr std::uint64_t kRingBytes = 256;  // eight small requests, so it is often full
inline constexpr std::uint32_t kMostClients = 8;

struct SharedChannel {
  ChannelControl control;
  alignas(kPageSize) std::byte requests[kRingBytes];
  alignas(kPageSize) std::byte answers[kRingBytes];
};

// The content of the shared memory. Zeroed memory is valid.
struct SharedExchange {
  WorkerLine line;
  alignas(kLinePair) Bell bell;
  alignas(kLinePair) HalfWord stop;
  SharedChannel channels[kMostClients];
};

inline constexpr std::uint64_t kRequestNonce = 0x1111'2222'3333'4445;
inline constexpr std::uint64_t kAnswerNonce = 0x6666'7777'8888'9999;

class ExchangeClient {
 public:
  ExchangeClient(SharedExchange& shared, std::uint32_t number, bool expedited)
      : shared_(shared),
        control_(shared.channels[number].control),
        expedited_(expedited),
        requests_({shared.channels[number].requests, kRingBytes, kRequestNonce}, 0),
        answers_({shared.channels[number].answers, kRingBytes, kAnswerNonce}, 0) {}

  // A synchronous call. The answer carries `value` back.
  std::uint64_t call(std::uint64_t value) {
    send(value, true);
    return take_answer();
  }

  // The same by polling only, until the answer is there or the time is so long that the worker must be asleep.
  std::uint64_t call_and_look(std::uint64_t value) {
    send(value, true);
    constexpr int kLooks = 20'000;
    for (int looks = 0; looks < kLooks && !answers_.poll(); ++looks) cpu_relax();
    return take_answer();
  }

  // Sends without an answer; waits only for room.
  void post(std::uint64_t value) { send(value, false); }

  std::uint64_t sleeps() const { return sleeps_; }

 private:
  std::uint64_t take_answer() {
    while (!answers_.poll()) {
      begin_wait(control_, kWaitingForAnswer);  // C1, C2
      if (!answers_.poll()) {                   // C3
        ++sleeps_;
        futex_wait(control_.waiting, kWaitingForAnswer, kNoTimeout);  // C4
      }
      control_.waiting.store(kNotWaiting, std::memory_order_relaxed);
    }
    std::uint64_t answered;
    std::memcpy(&answered, answers_.record() + kRecordHeadBytes, sizeof answered);
    answers_.advance(record_bytes(8));
    control_.answers_consumed.store(answers_.position(), std::memory_order_release);
    return answered;
  }

  void send(std::uint64_t value, bool wants_answer) {
    const std::uint64_t size = record_bytes(16);
    await_room(size);
    const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(&value), sizeof value);
    encode_request(requests_.begin(size), Op::kPut, wants_answer, bytes, bytes);
    requests_.publish(size);                     // B1
    fence_after_publishing(expedited_);          // B2
    ring_if_parked(shared_.line, shared_.bell);  // B3
  }

  void await_room(std::uint64_t size) {
    const auto consumed = [this] { return control_.requests_consumed.load(std::memory_order_acquire); };
    if (requests_.has_room(size, consumed())) return;
    const std::uint64_t wake_at = requests_.head() - kRingBytes / 2;  // half of it is free: the real client's condition
    while (consumed() < wake_at) {
      control_.wake_at.store(wake_at, std::memory_order_relaxed);
      begin_wait(control_, kWaitingForRoom);
      if (consumed() < wake_at) {
        ++sleeps_;
        futex_wait(control_.waiting, kWaitingForRoom, kNoTimeout);
      }
      control_.waiting.store(kNotWaiting, std::memory_order_relaxed);
    }
  }

  SharedExchange& shared_;
  ChannelControl& control_;
  bool expedited_;
  RingProducer requests_;
  RingConsumer answers_;
  std::uint64_t sleeps_ = 0;
};

class ExchangeWorker {
 public:
  ExchangeWorker(SharedExchange& shared, std::uint32_t clients, bool membarrier)
      : shared_(shared), clients_(clients), park_(shared.line, shared.bell, membarrier) {
    for (std::uint32_t i = 0; i < clients; ++i) {
      requests_[i] = RingConsumer({shared.channels[i].requests, kRingBytes, kRequestNonce}, 0);
      answers_[i] = RingProducer({shared.channels[i].answers, kRingBytes, kAnswerNonce}, 0);
    }
  }

  // Runs until stop() is called.
  void run() {
    while (shared_.stop.load(std::memory_order_acquire) == 0) {
      if (sweep()) continue;
      park_.prepare();                                                     // A1 to A3
      if (sweep() || shared_.stop.load(std::memory_order_acquire) != 0) {  // A4
        park_.stay_awake();
        continue;
      }
      ++parks_;
      park_.sleep(kNoTimeout);  // A5, A6
    }
  }
  static void stop(SharedExchange& shared) {
    shared.stop.store(1, std::memory_order_release);
    futex_add_and_wake(shared.bell.rings);
  }

  std::uint64_t served() const { return served_; }
  std::uint64_t sum() const { return sum_; }  // of all values received
  std::uint64_t parks() const { return parks_; }

 private:
  bool sweep() {
    bool found = false;
    bool answered[kMostClients] = {};
    for (std::uint32_t i = 0; i < clients_; ++i) {
      while (requests_[i].poll()) {
        found = true;
        serve(i, answered[i]);
      }
      shared_.channels[i].control.requests_consumed.store(requests_[i].position(), std::memory_order_release);  // D1
    }
    if (!found) return false;
    fence_before_waking();  // D2
    for (std::uint32_t i = 0; i < clients_; ++i) {
      wake_client(shared_.channels[i].control, answered[i], requests_[i].position());  // D3
    }
    return true;
  }

  void serve(std::uint32_t client, bool& answered) {
    Request request;
    std::uint64_t size = 0;
    std::byte copy[64];
    if (decode_request(requests_[client].record(), requests_[client].limit(), copy, request, size) !=
        DecodeOutcome::kRequest) {
      __builtin_trap();
    }
    requests_[client].advance(size);
    std::uint64_t value;
    std::memcpy(&value, request.value.data(), sizeof value);
    ++served_;
    sum_ += value;
    if (request.flags == 0) return;
    RingProducer& answers = answers_[client];
    encode_answer(answers.begin(record_bytes(8)), 0, 0, {}, request.value);
    answers.publish(record_bytes(8));
    answered = true;
  }

  SharedExchange& shared_;
  std::uint32_t clients_;
  WorkerPark park_;
  RingConsumer requests_[kMostClients];
  RingProducer answers_[kMostClients];
  std::uint64_t served_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t parks_ = 0;
};

}  // namespace hostmap::test
