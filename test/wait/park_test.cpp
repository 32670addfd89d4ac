// Park and wake without timeouts, between threads and between processes, with the fence and with membarrier. A lost wake-up
// hangs the test until its watchdog ends it.
#include "wait/park.hpp"

#include <gtest/gtest.h>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "exchange.hpp"
#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "support/child.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

// If no client sleeps, the test proves nothing. How often one sleeps depends on the machine; never would be an error.
constexpr std::uint64_t kLeastSleeps = 10;

enum class Mode : std::uint8_t { kFence, kMembarrier };

std::ostream& operator<<(std::ostream& out, Mode mode) {
  return out << (mode == Mode::kFence ? "Fence" : "Membarrier");
}

std::string name_of(const testing::TestParamInfo<Mode>& info) { return testing::PrintToString(info.param); }

class ParkTest : public testing::TestWithParam<Mode> {
 protected:
  // Does the worker fence for this process (or for each of its children) by membarrier?
  static bool expedited() { return GetParam() == Mode::kMembarrier; }
  void SetUp() override {
    if (expedited() && !membarrier_available()) GTEST_SKIP() << "this kernel has no expedited membarrier";
  }

  const AlignedMemory memory_{sizeof(SharedExchange)};
  SharedExchange& shared_ = memory_.at<SharedExchange>(0);
};

std::uint64_t sum_to(std::uint64_t n) { return n * (n + 1) / 2; }

// A client's part: synchronous calls, or posts with a call at the end. Returns how often it slept; ~0: a wrong answer.
std::uint64_t call_often(SharedExchange& shared, std::uint32_t number, bool expedited, std::uint64_t calls) {
  ExchangeClient client(shared, number, expedited);
  for (std::uint64_t i = 1; i <= calls; ++i) {
    if (client.call(i) != i) return ~std::uint64_t{0};
  }
  return client.sleeps();
}

std::uint64_t post_often(SharedExchange& shared, std::uint32_t number, bool expedited, std::uint64_t posts) {
  ExchangeClient client(shared, number, expedited);
  for (std::uint64_t i = 1; i < posts; ++i) client.post(i);
  if (client.call(posts) != posts) return ~std::uint64_t{0};
  return client.sleeps();
}

// Calls at the time at which the worker may be parking: at some time within the first microsecond after its answer.
std::uint64_t call_in_between(SharedExchange& shared, std::uint32_t number, bool expedited, std::uint64_t calls) {
  ExchangeClient client(shared, number, expedited);
  Random random(number);
  for (std::uint64_t i = 1; i <= calls; ++i) {
    for (std::uint64_t pauses = random.below(16); pauses != 0; --pauses) cpu_relax();
    if (client.call_and_look(i) != i) return ~std::uint64_t{0};
  }
  return client.sleeps();
}

using ClientPart = std::uint64_t (*)(SharedExchange&, std::uint32_t, bool, std::uint64_t);

void exchange_between_threads(SharedExchange& shared, ClientPart part, std::uint32_t clients, bool expedited,
                              std::uint64_t times) {
  ASSERT_TRUE(!expedited || register_for_membarrier());
  ExchangeWorker worker(shared, clients, expedited);
  std::thread server([&] { worker.run(); });
  std::vector<std::uint64_t> slept(clients);
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < clients; ++i) {
    threads.emplace_back([&, i] { slept[i] = part(shared, i, expedited, times); });
  }
  for (std::thread& thread : threads) thread.join();
  ExchangeWorker::stop(shared);
  server.join();
  std::uint64_t sleeps = 0;
  for (const std::uint64_t one : slept) {
    ASSERT_NE(one, ~std::uint64_t{0}) << "a wrong answer";
    sleeps += one;
  }
  EXPECT_EQ(worker.served(), clients * times);
  EXPECT_EQ(worker.sum(), clients * sum_to(times));
  EXPECT_GE(sleeps, kLeastSleeps) << "the clients never slept";
  EXPECT_GE(worker.parks(), kLeastSleeps) << "the worker never parked";
}

void exchange_between_processes(SharedExchange& shared, ClientPart part, std::uint32_t clients, bool expedited,
                                std::uint64_t times) {
  std::vector<Child> children;
  for (std::uint32_t i = 0; i < clients; ++i) {
    children.push_back(Child::fork([&, i] {
      if (expedited && !register_for_membarrier()) return 2;
      return part(shared, i, expedited, times) == ~std::uint64_t{0} ? 1 : 0;
    }));
  }
  ExchangeWorker worker(shared, clients, expedited);
  std::thread server([&] { worker.run(); });
  for (Child& child : children) EXPECT_EQ(child.wait(std::chrono::minutes(4)), kSuccess);
  ExchangeWorker::stop(shared);
  server.join();
  if (testing::Test::HasFailure()) return;
  EXPECT_EQ(worker.served(), clients * times);
  EXPECT_EQ(worker.sum(), clients * sum_to(times));
  EXPECT_GE(worker.parks(), kLeastSleeps) << "the worker never parked";
}

TEST_P(ParkTest, TwoThreadsThatCallLoseNoWakeUp) {
  exchange_between_threads(shared_, call_often, 2, expedited(), 20'000);
}

TEST_P(ParkTest, TwoThreadsThatWaitForRoomLoseNoWakeUp) {
  exchange_between_threads(shared_, post_often, 2, expedited(), 100'000);
}

TEST_P(ParkTest, TwoProcessesThatCallLoseNoWakeUp) {
  exchange_between_processes(shared_, call_often, 2, expedited(), 20'000);
}

TEST_P(ParkTest, TwoProcessesThatWaitForRoomLoseNoWakeUp) {
  exchange_between_processes(shared_, post_often, 2, expedited(), 100'000);
}

TEST_P(ParkTest, AProcessThatCallsJustWhenTheWorkerParksLosesNoWakeUp) {
  exchange_between_processes(shared_, call_in_between, 1, expedited(), 200'000);
}

TEST_P(ParkTest, EightProcessesAtOnceLoseNoWakeUp) {
  exchange_between_processes(shared_, call_often, 8, expedited(), 3'000);
}

INSTANTIATE_TEST_SUITE_P(Both, ParkTest, testing::Values(Mode::kFence, Mode::kMembarrier), name_of);

// The same with more exchanges.
class ParkSlowTest : public ParkTest {};

TEST_P(ParkSlowTest, ThreadsLoseNoWakeUpIn100000Exchanges) {
  exchange_between_threads(shared_, call_often, 2, expedited(), 100'000);
}

TEST_P(ParkSlowTest, ProcessesLoseNoWakeUpIn100000Exchanges) {
  exchange_between_processes(shared_, call_often, 2, expedited(), 100'000);
}

TEST_P(ParkSlowTest, ProcessesThatWaitForRoomLoseNoWakeUpInAMillionPosts) {
  exchange_between_processes(shared_, post_often, 2, expedited(), 1'000'000);
}

INSTANTIATE_TEST_SUITE_P(Both, ParkSlowTest, testing::Values(Mode::kFence, Mode::kMembarrier), name_of);

// --- Each half alone ---------------------------------------------------------------------------------------------------

class ParkHalvesTest : public testing::Test {
 protected:
  // What a client does after it has published.
  void wake(bool expedited) {
    fence_after_publishing(expedited);
    ring_if_parked(line_, bell_);
  }
  WorkerLine line_{};
  Bell bell_{};
  ChannelControl control_{};
};

TEST_F(ParkHalvesTest, ABellIsRungOnlyForAParkedWorker) {
  for (const bool expedited : {false, true}) {
    const std::uint32_t before = bell_.rings.load();
    wake(expedited);
    EXPECT_EQ(bell_.rings.load(), before);
    WorkerPark park(line_, bell_, false);
    park.prepare();
    EXPECT_EQ(line_.parked.load(), 1u);
    wake(expedited);
    EXPECT_EQ(bell_.rings.load(), before + 1);
    EXPECT_EQ(park.sleep(kNoTimeout), WaitOutcome::kChanged) << "rung before it slept: it does not sleep";
    EXPECT_EQ(line_.parked.load(), 0u);
  }
}

TEST_F(ParkHalvesTest, AWorkerThatStaysAwakeIsNotParked) {
  WorkerPark park(line_, bell_, false);
  park.prepare();
  park.stay_awake();
  EXPECT_EQ(line_.parked.load(), 0u);
}

TEST_F(ParkHalvesTest, ASleepThatEndsAtItsTimeoutIsStillParkedAndKnowsWhetherItWasRung) {
  for (const bool rings : {false, true}) {
    WorkerPark park(line_, bell_, membarrier_available());
    park.prepare();
    EXPECT_EQ(park.sleep(1'000'000), WaitOutcome::kTimedOut);
    EXPECT_EQ(line_.parked.load(), 1u);
    if (rings) wake(false);
    EXPECT_EQ(park.rung(), rings);
    park.stay_awake();
    EXPECT_EQ(line_.parked.load(), 0u);
  }
}

TEST_F(ParkHalvesTest, AClientThatDoesNotWaitIsNotWoken) {
  EXPECT_FALSE(wake_client(control_, true, 1000));
  EXPECT_EQ(control_.waiting.load(), kNotWaiting);
}

TEST_F(ParkHalvesTest, AClientThatWaitsForAnAnswerIsWokenOnlyByOne) {
  begin_wait(control_, kWaitingForAnswer);
  EXPECT_FALSE(wake_client(control_, false, ~std::uint64_t{0})) << "room is not what it waits for";
  EXPECT_EQ(control_.waiting.load(), kWaitingForAnswer);
  EXPECT_TRUE(wake_client(control_, true, 0));
  EXPECT_EQ(control_.waiting.load(), kNotWaiting);
  EXPECT_FALSE(wake_client(control_, true, 0)) << "once";
}

TEST_F(ParkHalvesTest, AClientThatWaitsForRoomIsWokenWhenThereIsEnough) {
  control_.wake_at.store(500);
  begin_wait(control_, kWaitingForRoom);
  EXPECT_FALSE(wake_client(control_, true, 499)) << "an answer is not what it waits for";
  EXPECT_TRUE(wake_client(control_, false, 500));
  EXPECT_EQ(control_.waiting.load(), kNotWaiting);
}

// A hostile client can write anything there: at worst the client itself is woken or not.
TEST_F(ParkHalvesTest, GarbageInTheWaitWordHarmsNobodyElse) {
  Random random;
  for (int i = 0; i < 10'000; ++i) {
    const auto garbage = static_cast<std::uint32_t>(random.word());
    control_.waiting.store(garbage);
    control_.wake_at.store(random.word());
    const bool answered = random.one_in(2);
    const bool woken = wake_client(control_, answered, random.word());
    EXPECT_EQ(control_.waiting.load(), woken ? kNotWaiting : garbage);
  }
}

TEST(MembarrierTest, RegisteringTwiceIsNotAnError) {
  if (!membarrier_available()) GTEST_SKIP() << "this kernel has no expedited membarrier";
  EXPECT_TRUE(register_for_membarrier());
  EXPECT_TRUE(register_for_membarrier());
  fence_all_writers(true);
}

// The test is tested, too: a worker that polls the rings *before* it stores that it parks loses wake-ups, and the exchange
// above hangs. (Here a watchdog ends it, which is the expected outcome.)
TEST(ParkCanaryTest, AWorkerThatPollsTooEarlyLosesAWakeUp) {
  const AlignedMemory memory(sizeof(SharedExchange));
  auto& shared = memory.at<SharedExchange>(0);
  const AlignedMemory notes(kPageSize);
  auto& calls = notes.at<std::atomic<std::uint64_t>>(0);
  Child client = Child::fork([&] {
    ExchangeClient caller(shared, 0, false);
    for (std::uint64_t i = 1;; ++i) {
      if (caller.call(i) != i) return 1;
      calls.store(i);
    }
  });
  Child worker = Child::fork([&] {
    RingConsumer requests({shared.channels[0].requests, kRingBytes, kRequestNonce}, 0);
    RingProducer answers({shared.channels[0].answers, kRingBytes, kAnswerNonce}, 0);
    ChannelControl& control = shared.channels[0].control;
    for (;;) {
      if (requests.poll()) {
        requests.advance(record_bytes(16));
        const std::uint64_t value = requests.position() / record_bytes(16);
        encode_answer(answers.begin(record_bytes(8)), 0, 0, {},
                      {reinterpret_cast<const std::byte*>(&value), sizeof value});
        answers.publish(record_bytes(8));
        control.requests_consumed.store(requests.position(), std::memory_order_release);
        fence_before_waking();
        wake_client(control, true, requests.position());
        continue;
      }
      // Wrong: the poll above came before `parked`, and none comes after it. The pause makes the interval longer.
      const std::uint32_t seen = shared.bell.rings.load();
      for (int pauses = 0; pauses < 100; ++pauses) cpu_relax();
      shared.line.parked.store(1);
      futex_wait(shared.bell.rings, seen, kNoTimeout);
      shared.line.parked.store(0);
    }
    return 0;
  });
  // Hung: no call came through for a second, while both still live.
  std::uint64_t before = ~std::uint64_t{0};
  while (calls.load() != before) {
    before = calls.load();
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  EXPECT_TRUE(client.running());
  EXPECT_TRUE(worker.running());
  futex_add_and_wake(shared.bell.rings);  // one wake-up by the test, and it continues
  for (int i = 0; i < 3000 && calls.load() == before; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_NE(calls.load(), before) << "it hung for another reason than a lost wake-up";
}

}  // namespace
}  // namespace hostmap::test
