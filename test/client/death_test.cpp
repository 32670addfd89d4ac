// Clients that die or are stopped while they write (FAULTS 5, 6, 22): what they sent whole is applied once, what they did not
// is not, and nobody else notices.
#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <unistd.h>

#include "process/support/sealed.hpp"
#include "process/support/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

std::uint64_t cpu_ticks(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string field;
  std::uint64_t sum = 0;
  for (int i = 3; fields >> field; ++i) {
    if (i == 14 || i == 15) sum += std::stoull(field);
  }
  return sum;
}

// Writes ever larger counters to its key, some as one record and some in pieces, telling through the pipe what is flushed.
int write_for_ever(const Server& server, std::uint64_t number, int told) {
  Client map = server.connect();
  for (std::uint64_t counter = 1;; ++counter) {
    const std::size_t size = counter % 16 == 0 ? 20'000 : counter % 2 == 0 ? 8 : 100;
    if (!map.put_async(word_key(number), sealed_value(counter, number, size)).ok()) return 1;
    if (counter % 64 != 0) continue;
    if (!map.flush().ok()) return 2;
    if (::write(told, &counter, sizeof counter) != sizeof counter) return 3;
  }
}

void die_while_writing(int rounds) {
  Server server({"10", "--ring-size", "8K"});
  Random random;
  Client other = server.connect();
  for (int round = 0; round < rounds; ++round) {
    const std::uint64_t number = 100 + static_cast<std::uint64_t>(round % 3);
    static_cast<void>(other.erase(word_key(number)));
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    Child child = Child::fork([&] { return write_for_ever(server, number, pipe[1]); });
    ::close(pipe[1]);
    std::uint64_t flushed = 0;
    ASSERT_EQ(::read(pipe[0], &flushed, sizeof flushed), static_cast<ssize_t>(sizeof flushed)) << "it is under way";
    ::usleep(static_cast<useconds_t>(random.below(5'000)));
    ASSERT_EQ(other.put("other", std::to_string(round)), StatusCode::kOk);
    ASSERT_EQ(child.kill_and_wait(), killed_by(SIGKILL));
    for (std::uint64_t counter; ::read(pipe[0], &counter, sizeof counter) == static_cast<ssize_t>(sizeof counter);) {
      flushed = counter;
    }
    ::close(pipe[0]);
    ASSERT_TRUE(server.connections_come_to(1)) << "the slot comes back";
    const Result<std::string> value = other.get(word_key(number));
    ASSERT_TRUE(value) << value.status().message();
    const std::optional<std::uint64_t> counter = unseal(*value, number);
    ASSERT_TRUE(counter) << "a value of " << value->size() << " bytes that nobody has sent";
    ASSERT_GE(*counter, flushed) << "what was flushed is kept";
  }
  EXPECT_EQ(server.stat("poisoned"), 0u);
  EXPECT_EQ(server.stat("reaped"), static_cast<std::uint64_t>(rounds));
  EXPECT_EQ(server.stat("entries"), 4u) << "the streams that were cut off have left nothing";
}

TEST(ClientDeath, Case5KilledWhileWritingWhatIsThereWasSentAndWhatWasFlushedIsThere) { die_while_writing(25); }
TEST(ClientDeathSlow, Case5KilledWhileWritingWhatIsThereWasSentAndWhatWasFlushedIsThere) { die_while_writing(1000); }

TEST(ClientDeath, Case6AStoppedWriterHoldsUpNobodyAndTheServerDoesNotSpin) {
  Server server({"10", "--ring-size", "8K"});
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  Child stopped = Child::fork([&] { return write_for_ever(server, 7, pipe[1]); });
  std::uint64_t flushed = 0;
  ASSERT_EQ(::read(pipe[0], &flushed, sizeof flushed), static_cast<ssize_t>(sizeof flushed));
  stopped.send(SIGSTOP);
  Client map = server.connect();
  for (int i = 0; i < 2'000; ++i) ASSERT_EQ(map.put("key", std::to_string(i)), StatusCode::kOk);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const std::uint64_t before = cpu_ticks(server.pid());
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_LE(cpu_ticks(server.pid()) - before, 10u) << "of 200 ticks";
  EXPECT_EQ(server.stat("connections"), 2u) << "patience with who is only stopped";
  stopped.send(SIGCONT);
  std::uint64_t more = 0;
  for (int i = 0; i < 1000 && more <= flushed; ++i) {
    ASSERT_EQ(::read(pipe[0], &more, sizeof more), static_cast<ssize_t>(sizeof more)) << "it goes on";
  }
  EXPECT_GT(more, flushed);
  stopped.kill_and_wait();
  ::close(pipe[0]);
  ::close(pipe[1]);
  EXPECT_TRUE(server.connections_come_to(1));
}

TEST(ClientDeath, Case22HoweverAClientEndsItsConnectionComesBack) {
  Server server;
  const auto connect_and = [&](const std::function<int()>& end) {
    return Child::fork([&] {
      Client map = server.connect();
      if (!map.put("key", "value").ok()) return 1;
      return end();
    });
  };
  EXPECT_EQ(connect_and([] { return 0; }).wait(), kSuccess);
  EXPECT_EQ(connect_and([]() -> int { ::_exit(0); }).wait(), kSuccess);
  EXPECT_EQ(connect_and([]() -> int { std::abort(); }).wait(), killed_by(SIGABRT));
  EXPECT_EQ(connect_and([]() -> int {
              ::raise(SIGKILL);
              return 1;
            }).wait(),
            killed_by(SIGKILL));
  EXPECT_TRUE(server.connections_come_to(0));
  EXPECT_EQ(server.stat("connected"), 4u);
  EXPECT_EQ(server.stat("reaped"), 3u) << "all but the one that closed";
}

// In a pid namespace of its own a client's process cannot be named: its lock alone tells.
TEST(ClientDeath, Case22AClientInAnotherPidNamespaceIsReapedByItsLock) {
  Server server;
  ProcessSetup setup;
  setup.wrapper = {"unshare", "--pid", "--fork", "--kill-child"};
  Program client(server.client_command({"1", "--seconds", "600"}), setup);
  ASSERT_TRUE(eventually([&] { return server.stat("puts") > 0; })) << client.errors();
  std::this_thread::sleep_for(std::chrono::seconds(3));
  EXPECT_EQ(server.stat("connections"), 1u) << "it lives, and is left alone";
  client.kill();
  EXPECT_TRUE(server.connections_come_to(0));
  EXPECT_EQ(server.stat("reaped"), 1u);
}

}  // namespace
}  // namespace hostmap::test
