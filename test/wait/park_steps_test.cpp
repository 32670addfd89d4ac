// Waker and sleeper are stopped, or the waker is killed, at each of their instructions (fault case 28 in
// docs/internals/failure-model.md); no process stays asleep. No wait here has a timeout: a lost wake-up hangs a child, and
// its watchdog reports it.
#include <gtest/gtest.h>
#include <ostream>
#include <string>
#include <thread>

#include "exchange.hpp"
#include "layout/connection.hpp"
#include "support/child.hpp"
#include "support/stepper.hpp"
#include "wait/park.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint32_t kStepped = 0;    // the client that is stepped
constexpr std::uint32_t kBystander = 1;  // and one that must be served, too

class ParkStepsSlow : public testing::Test {
 protected:
  SharedExchange& fresh() { return *new (memory_.data()) SharedExchange{}; }
  static void call(SharedExchange& shared, std::uint32_t client) {
    if (ExchangeClient(shared, client, false).call(4711) != 4711) __builtin_trap();
  }
  static void expect_served(SharedExchange& shared, std::uint32_t client) {
    Child caller = Child::fork([&] {
      call(shared, client);
      return 0;
    });
    EXPECT_EQ(caller.wait(), kSuccess);
  }
  static void await_parked(const SharedExchange& shared) {
    while (shared.line.parked.load() == 0) std::this_thread::yield();
  }
  // A client's call is stopped at each of its instructions in turn, while the worker was parked before.
  void stop_a_client(Afterwards afterwards) {
    std::uint64_t step = 0;
    for (StoodAt stood = StoodAt::kInstruction; stood != StoodAt::kEnd && !HasFailure(); ++step) {
      SharedExchange& shared = fresh();
      Child worker = Child::fork([&] {
        ExchangeWorker(shared, 2, false).run();
        return 0;
      });
      await_parked(shared);
      stood = stop_at([&] { call(shared, kStepped); }, step,
                      [&] {
                        if (afterwards == Afterwards::kGoesOn) expect_served(shared, kBystander);
                      },
                      afterwards);
      if (afterwards == Afterwards::kIsKilled) expect_served(shared, kBystander);
      ExchangeWorker::stop(shared);
      EXPECT_EQ(worker.wait(), kSuccess) << "stopped at instruction " << step;
    }
    std::printf("%lu instructions\n", static_cast<unsigned long>(step));
    EXPECT_GT(step, 50u);
  }

 private:
  const AlignedMemory memory_{sizeof(SharedExchange)};
};

TEST_F(ParkStepsSlow, AClientKilledAnywhereInACallLosesNobodysWakeUp) { stop_a_client(Afterwards::kIsKilled); }

TEST_F(ParkStepsSlow, AClientStoppedAnywhereInACallLeavesNobodyAsleep) { stop_a_client(Afterwards::kGoesOn); }

TEST_F(ParkStepsSlow, AWorkerStoppedAnywhereOnItsWayToSleepIsWoken) {
  std::uint64_t step = 0;
  for (StoodAt stood = StoodAt::kInstruction; stood == StoodAt::kInstruction && !HasFailure(); ++step) {
    SharedExchange& shared = fresh();
    Child caller;
    stood = stop_at([&] { ExchangeWorker(shared, 2, false).run(); }, step,
                    [&] {
                      caller = Child::fork([&] {
                        call(shared, kBystander);
                        ExchangeWorker::stop(shared);
                        return 0;
                      });
                      // At least until it has published and checks whether it must ring.
                      while (shared.channels[kBystander].control.waiting.load() == kNotWaiting)
                        std::this_thread::yield();
                    },
                    Afterwards::kGoesOn);
    EXPECT_EQ(caller.wait(), kSuccess) << "stopped at instruction " << step;
  }
  std::printf("%lu instructions until it slept\n", static_cast<unsigned long>(step));
  EXPECT_GT(step, 50u);
}

}  // namespace
}  // namespace hostmap::test
