// Takeovers that fail: whatever is missing, and whichever process is killed or interrupted, a server with the whole map
// continues to serve.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <optional>
#include <unistd.h>

#include "process/harness/own_shm.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"
#include "shm/obstacle.hpp"
#include "signal/wish.hpp"

namespace hostmap::test {
namespace {

// `times`: how often since the program was started.
bool logs(Program& program, const std::string& text, int times = 1) {
  return eventually([&] {
    const std::string lines = program.errors();
    int found = 0;
    for (std::size_t at = lines.find(text); at != std::string::npos; at = lines.find(text, at + 1)) ++found;
    return found >= times;
  });
}

Program taker_of(const Server& server, const ProcessSetup& setup = {}) {
  return Program({program("hostmap-server"), "--name", server.name(), "--takeover"}, setup);
}

// A server with an entry that must survive, and a client that has been connected all the time.
class FailingTakeover : public testing::Test {
 protected:
  explicit FailingTakeover(const ServerSetup& setup = {}) : old_({"10", "--memory", "4M"}, setup), map_(connect()) {
    EXPECT_EQ(map_.put("key", "value"), StatusCode::kOk);
  }
  Client connect() const { return old_.connect(); }

  void expect_the_map_is_whole() {
    EXPECT_EQ(*map_.get("key"), "value");
    EXPECT_EQ(map_.put("other", std::to_string(++puts_)), StatusCode::kOk) << "the client writes on";
    EXPECT_EQ(*connect().get("other"), std::to_string(puts_)) << "a newcomer reads";
  }
  void expect_the_old_server_serves() {
    EXPECT_TRUE(old_.program().running());
    EXPECT_EQ(old_.stat("pid"), static_cast<std::uint64_t>(old_.pid()));
    expect_the_map_is_whole();
    std::vector<std::string> words{program("hostmap"), "--name", old_.name(), "check"};
    if (const std::string user = old_.options().user; !user.empty()) words.insert(words.end(), {"--user", user});
    const Ran check = run(words);
    EXPECT_EQ(check.exit, kSuccess) << check.output << check.errors;
  }
  // Starts a takeover from the old server, which is stopped and therefore does not answer.
  Program waiting_taker() {
    old_.pause();
    Program taker = taker_of(old_);
    EXPECT_TRUE(eventually([&] { return is_pending(old_.pid(), hand_over_signal()); })) << taker.errors();
    return taker;
  }
  // The same, but the new server is stopped after its request, and the old server has handed over.
  Program stopped_taker() {
    Program taker = waiting_taker();
    taker.send(SIGSTOP);
    EXPECT_TRUE(eventually([&] { return is_stopped(taker.pid()); }));
    old_.send(SIGCONT);
    EXPECT_TRUE(logs(old_.program(), "handing over", ++handovers_));
    return taker;
  }

  Server old_;
  Client map_;
  int puts_ = 0;
  int handovers_ = 0;
};

TEST_F(FailingTakeover, AKilledTakerLeavesTheServerThatHasHandedOverServing) {
  for (int round = 0; round < 3; ++round) {
    Program taker = stopped_taker();
    taker.kill();
    EXPECT_TRUE(logs(old_.program(), "this one serves again", round + 1));
    expect_the_old_server_serves();
  }
  Server next({"--takeover"}, {old_.name()});
  EXPECT_EQ(old_.wait(), kSuccess) << "the next takeover works";
  expect_the_map_is_whole();
}

TEST_F(FailingTakeover, AKilledTakerThatWaitedIsForgotten) {
  Program taker = waiting_taker();
  taker.kill();
  old_.send(SIGCONT);
  EXPECT_TRUE(logs(old_.program(), "is ignored"));
  expect_the_old_server_serves();
}

TEST_F(FailingTakeover, AnInterruptedTakerEndsWithAMessageAndTheServerContinues) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Program taker = waiting_taker();
    taker.send(signal);
    EXPECT_EQ(taker.wait(), exited(1));
    EXPECT_NE(taker.errors().find("ended the takeover"), std::string::npos) << taker.errors();
    EXPECT_TRUE(taker.output().empty());
    old_.send(SIGCONT);
    expect_the_old_server_serves();
  }
}

// A request whose taker has gone is still pending when the server is requested to stop.
TEST_F(FailingTakeover, AnInterruptedTakersRequestDoesNotSwallowALaterStop) {
  Program taker = waiting_taker();
  taker.send(SIGTERM);
  EXPECT_EQ(taker.wait(), exited(1));
  old_.send(SIGTERM);
  old_.send(SIGCONT);
  EXPECT_EQ(old_.wait(), kSuccess);
}

TEST_F(FailingTakeover, ATakerInterruptedAfterTheHandoverLeavesAServerServing) {
  Program taker = stopped_taker();
  taker.send(SIGTERM);
  taker.send(SIGCONT);
  EXPECT_EQ(taker.wait(), exited(1)) << taker.errors();
  EXPECT_TRUE(logs(old_.program(), "this one serves again"));
  expect_the_old_server_serves();
}

TEST_F(FailingTakeover, OfTwoTakersOneWinsAndTheOtherEndsWithAMessage) {
  Program first = waiting_taker();
  expect_refusal(run_server({"--takeover"}, old_.name()), 1, {"--takeover", old_.name()});
  old_.send(SIGCONT);
  EXPECT_TRUE(first.next_line(kPatience));
  EXPECT_EQ(old_.wait(), kSuccess);
  expect_the_map_is_whole();
  first.send(SIGTERM);
  EXPECT_EQ(first.wait(), kSuccess);
}

// Started at the same time, again and again: at the end exactly one server runs, and it has the map.
TEST_F(FailingTakeover, ManyTakersAtOnceLeaveOneServerWithTheMap) {
  std::vector<Program> takers;
  for (int i = 0; i < 12; ++i) takers.push_back(taker_of(old_));
  EXPECT_EQ(old_.wait(), kSuccess);
  const auto running = [&] { return std::ranges::count_if(takers, [](Program& taker) { return taker.running(); }); };
  EXPECT_TRUE(eventually([&] { return running() == 1; })) << running();
  expect_the_map_is_whole();
  for (Program& taker : takers) {
    const bool serves = taker.running();
    if (serves) taker.send(SIGTERM);
    const Exit exit = taker.wait();
    EXPECT_EQ(exit, taker.output().empty() ? exited(1) : kSuccess) << taker.errors();
  }
}

TEST_F(FailingTakeover, AServerThatStopsInsteadOfHandingOverLeavesNoEmptyMap) {
  Program taker = waiting_taker();
  old_.send(SIGTERM);
  old_.send(SIGCONT);
  EXPECT_EQ(old_.wait(), kSuccess);
  EXPECT_EQ(taker.wait(), exited(1));
  EXPECT_NE(taker.errors().find("removed its map"), std::string::npos) << taker.errors();
  EXPECT_TRUE(old_.files().empty());
}

TEST_F(FailingTakeover, AServerThatDiesInsteadOfHandingOverIsReplaced) {
  Program taker = waiting_taker();
  old_.kill();
  EXPECT_TRUE(taker.next_line(kPatience)) << taker.errors();
  expect_the_map_is_whole();
  taker.send(SIGTERM);
  EXPECT_EQ(taker.wait(), kSuccess);
}

TEST_F(FailingTakeover, ATakerWhoseLogCannotBeWrittenServes) {
  Program taker({"bash", "-c", "exec \"$0\" \"$@\" >/dev/full 2>/dev/full", program("hostmap-server"), "--name",
                 old_.name(), "--takeover"});
  EXPECT_EQ(old_.wait(), kSuccess);
  expect_the_map_is_whole();
  taker.send(SIGTERM);
  EXPECT_EQ(taker.wait(), kSuccess);
}

TEST_F(FailingTakeover, AnUnknownGroupIsRefusedAndTheServerContinues) {
  expect_refusal(run_server({"--takeover", "--group", "no-such-group"}, old_.name()), 2, {"no-such-group"});
  expect_the_old_server_serves();
}

TEST_F(FailingTakeover, AnAliveFileThatCannotBeReplacedIsRefusedAndTheServerContinues) {
  const std::string alive = old_.instance().alive();
  std::filesystem::rename(alive, alive + "-aside");
  std::filesystem::create_directory(alive);
  expect_refusal(run_server({"--takeover"}, old_.name()), 1, {alive, "continues to serve"});
  std::filesystem::remove(alive);
  std::filesystem::rename(alive + "-aside", alive);
  expect_the_old_server_serves();
}

class FailingTakeoverOfAnotherUser : public FailingTakeover {
 protected:
  static ServerSetup owned() {
    ServerSetup setup;
    if (can_change_users()) setup.process.user = kSomeUser;
    return setup;
  }
  FailingTakeoverOfAnotherUser() : FailingTakeover(owned()) {}
};

TEST_F(FailingTakeoverOfAnotherUser, RootIsRefusedAndTheServerContinues) {
  if (!can_change_users()) GTEST_SKIP() << "two users are needed";
  expect_refusal(run_server({"--takeover"}, old_.name()), 1,
                 {"belongs to user " + user_text(kSomeUser), "continues to serve"});
  expect_the_old_server_serves();
}

TEST_F(FailingTakeoverOfAnotherUser, AGroupThatTheUserIsNotInIsRefusedAndTheServerContinues) {
  if (!can_change_users()) GTEST_SKIP() << "two users are needed";
  ProcessSetup same;
  same.user = kSomeUser;
  expect_refusal(run_server({"--takeover", "--group", "4711"}, old_.name(), same), 1, {"group", "continues to serve"});
  expect_the_old_server_serves();
}

// Limits from far too little to enough: the takeover works, or is refused in one line while the other server serves.
class TakeoverWithLimits : public testing::Test {
 protected:
  TakeoverWithLimits() {
    ServerSetup setup;
    if (can_change_users()) setup.process.user = user_;
    server_ = std::make_unique<Server>(std::vector<std::string>{"10", "--memory", "4M", "--workers", "2"}, setup);
    for (int i = 0; i < 8; ++i) clients_.push_back(server_->connect());
    for (Client& client : clients_) EXPECT_EQ(client.increment("sum").status(), StatusCode::kOk);
  }
  void take_over_with(int limit, rlim_t value) {
    SCOPED_TRACE(value);
    ProcessSetup setup;
    setup.limits = {{limit, value}};
    if (can_change_users()) setup.user = user_;
    auto taker = std::make_unique<Program>(
        std::vector<std::string>{program("hostmap-server"), "--name", server_->name(), "--takeover"}, setup);
    const std::optional<std::string> line = taker->next_line(kPatience);
    if (!line) {
      ++refused_;
      EXPECT_EQ(taker->wait(), exited(1)) << taker->errors();
      EXPECT_EQ(lines_of(taker->errors()).size(), 1u) << taker->errors();
      EXPECT_TRUE(current().running());
    } else {
      ++served_;
      EXPECT_EQ(wait_for_current(), kSuccess) << current().errors();
      taker_ = std::move(taker);
    }
    EXPECT_EQ(server_->connect().get("absent").status(), StatusCode::kNotFound) << "a new client is served, too";
    for (Client& client : clients_) {
      ASSERT_EQ(*client.increment("sum"), static_cast<std::int64_t>(++sum_)) << current().errors();
    }
    // If it was refused, then before it sent its request.
    EXPECT_EQ(current().errors().find("serves again"), std::string::npos) << current().errors();
  }
  void expect_both() {
    EXPECT_GT(served_, 0);
    EXPECT_GT(refused_, 0);
    current().send(SIGTERM);
    EXPECT_EQ(wait_for_current(), kSuccess);
  }

 private:
  Exit wait_for_current() { return taker_ != nullptr ? taker_->wait() : server_->wait(); }
  Program& current() { return taker_ != nullptr ? *taker_ : server_->program(); }

  uid_t user_ = static_cast<uid_t>(200'000 + ::getpid() % 100'000);  // a user without other processes
  std::unique_ptr<Server> server_;
  std::unique_ptr<Program> taker_;
  std::vector<Client> clients_;
  std::uint64_t sum_ = 8;
  int served_ = 0;
  int refused_ = 0;
};

TEST_F(TakeoverWithLimits, OfDescriptorsItWorksOrTheServerContinues) {
  for (rlim_t files = 8; files <= 80; files += 3) take_over_with(RLIMIT_NOFILE, files);
  expect_both();
}

TEST_F(TakeoverWithLimits, OfAddressSpaceItWorksOrTheServerContinues) {
  for (rlim_t megabytes = 20; megabytes <= 400; megabytes += megabytes < 140 ? 5 : 40) {
    take_over_with(RLIMIT_AS, megabytes << 20);
  }
  expect_both();
}

TEST_F(TakeoverWithLimits, OfFileSizesItWorksOrTheServerContinues) {
  for (rlim_t kilobytes = 1; kilobytes <= 16'384; kilobytes *= 2) take_over_with(RLIMIT_FSIZE, kilobytes << 10);
  expect_both();
}

TEST_F(TakeoverWithLimits, OfThreadsItWorksOrTheServerContinues) {
  if (!can_change_users()) GTEST_SKIP() << "the limit does not bind root";
  for (rlim_t threads = 1; threads <= 40; threads += 2) take_over_with(RLIMIT_NPROC, threads);
  expect_both();
}

}  // namespace
}  // namespace hostmap::test
