// What ends a batch early: a stopped server, one that is killed, one that is stopped; and what does not: a restart.
#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

class BatchesTest : public testing::Test {
 protected:
  BatchesTest() {
    for (int i = 0; i < 500; ++i) keys_.push_back("key" + std::to_string(i));
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      // Of every kind of answer: only if refused, refused always, always.
      operations_.push_back(i % 3 == 0   ? Operation::put(keys_[i], "1")
                            : i % 3 == 1 ? Operation::erase(keys_[i])
                                         : Operation::increment(keys_[i]));
    }
  }
  std::vector<std::string> keys_;
  std::vector<Operation> operations_;
  std::vector<Outcome> outcomes_ = std::vector<Outcome>(500);
};

TEST_F(BatchesTest, OperationsWithoutAnswerAtTheDeadlineTimeOutAndTheNextCallWorks) {
  for (const char* workers : {"1", "3"}) {
    for (const char* ring : {"4K", "64K"}) {
      SCOPED_TRACE(std::string(workers) + " workers, rings of " + ring);
      Server server({"10", "--workers", workers, "--ring-size", ring});
      Client map = server.connect(std::chrono::milliseconds(150));
      ASSERT_TRUE(eventually([&] { return map.apply(operations_, outcomes_).ok(); }));  // opens all channels
      server.pause();
      for (int again = 0; again < 2; ++again) {
        EXPECT_EQ(map.apply(operations_, outcomes_), StatusCode::kTimeout);
        for (const Outcome& outcome : outcomes_) ASSERT_EQ(outcome.status, StatusCode::kTimeout);
      }
      EXPECT_EQ(map.put("other", "1"), StatusCode::kTimeout);
      server.send(SIGCONT);
      ASSERT_TRUE(eventually([&] { return map.put("last", "1").ok(); }));
      ASSERT_TRUE(eventually([&] { return map.apply(operations_, outcomes_).ok(); }));
      for (std::size_t i = 0; i < outcomes_.size(); ++i) {
        ASSERT_EQ(outcomes_[i].status, i % 3 == 1 ? StatusCode::kNotFound : StatusCode::kOk) << i;
      }
      // The erases of absent keys that had timed out are reported, once.
      Status flushed;
      ASSERT_TRUE(eventually([&] { return !((flushed = map.flush()) == StatusCode::kTimeout); }));
      EXPECT_EQ(flushed, StatusCode::kNotFound) << flushed.message();
      ASSERT_TRUE(eventually([&] { return !((flushed = map.flush()) == StatusCode::kTimeout); }));
      EXPECT_EQ(flushed, StatusCode::kOk) << flushed.message();
    }
  }
}

TEST_F(BatchesTest, AStoppedServerEndsABatchWithClosed) {
  Server server({"10"});
  Client map = server.connect();
  ASSERT_EQ(map.put("k", "1"), StatusCode::kOk);
  server.stop_cleanly();
  EXPECT_EQ(map.apply(operations_, outcomes_), StatusCode::kNoServer);
  for (const Outcome& outcome : outcomes_) ASSERT_EQ(outcome.status, StatusCode::kNoServer);
}

TEST_F(BatchesTest, AServerThatStopsDuringBatchesGivesEachOperationOneOutcome) {
  Server server({"10", "--workers", "2"});
  Client map = server.connect();
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    server.stop_cleanly();
  });
  Status status;
  while (status.ok()) {
    for (Outcome& outcome : outcomes_) outcome.status = StatusCode::kInternal;
    status = map.apply(operations_, outcomes_);
    for (const Outcome& outcome : outcomes_) ASSERT_FALSE(outcome.status == StatusCode::kInternal);
  }
  EXPECT_TRUE(status == StatusCode::kClosed || status == StatusCode::kNoServer) << status;
  stopper.join();
}

// Kills and restarts the server during batches of increments, with requests that are answered only if they are refused between
// them: no operation is lost, none applied twice, and each has its outcome.
TEST_F(BatchesTest, AServerThatIsKilledAndRestartedAppliesEachOperationOnce) {
  const std::string name = unique_name();
  auto server = std::make_unique<Server>(std::vector<std::string>{"10", "--workers", "2"}, ServerSetup{name});
  Client map = server->connect();
  std::atomic<bool> stop{false};
  std::int64_t rounds = 0;
  std::thread batches([&] {
    std::vector<Operation> operations;
    std::vector<std::string> names;
    for (int i = 0; i < 20; ++i) names.push_back("n" + std::to_string(i));
    for (const std::string& one : names) {
      operations.push_back(Operation::increment(one));
      operations.push_back(Operation::insert("present", one));
      operations.push_back(Operation::put("last", one));
      operations.push_back(Operation::erase("absent"));
    }
    std::vector<Outcome> outcomes(operations.size());
    ASSERT_EQ(map.put("present", "1"), StatusCode::kOk);
    while (!stop) {
      ASSERT_EQ(map.apply(operations, outcomes), StatusCode::kOk);
      ++rounds;
      for (std::size_t i = 0; i < operations.size(); i += 4) {
        ASSERT_EQ(outcomes[i].status, StatusCode::kOk);
        ASSERT_EQ(outcomes[i].number, rounds);
        ASSERT_EQ(outcomes[i + 1].status, StatusCode::kAlreadyExists);
        ASSERT_EQ(outcomes[i + 2].status, StatusCode::kOk);
        ASSERT_EQ(outcomes[i + 3].status, StatusCode::kNotFound);
      }
    }
  });
  for (int kills = 0; kills < 15; ++kills) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + kills));
    server->kill();
    server = std::make_unique<Server>(std::vector<std::string>{"10", "--workers", "2"}, ServerSetup{name});
  }
  stop = true;
  batches.join();
  EXPECT_GT(rounds, 0);
}

TEST_F(BatchesTest, AChildAppliesBatchesOnAConnectionOfItsOwn) {
  Server server({"10"});
  Client map = server.connect();
  ASSERT_EQ(map.apply(operations_, outcomes_), StatusCode::kOk);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool done = map.apply(operations_, outcomes_).ok() && outcomes_[2].number == 2;
    ::_exit(done ? 0 : 1);
  }
  int how = 0;
  ASSERT_EQ(::waitpid(child, &how, 0), child);
  EXPECT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 0);
  ASSERT_EQ(map.apply(operations_, outcomes_), StatusCode::kOk);
  EXPECT_EQ(outcomes_[2].number, 3);
}

}  // namespace
}  // namespace hostmap::test
