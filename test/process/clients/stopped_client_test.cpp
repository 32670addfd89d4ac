// A client is stopped in the middle of an operation (fault case 6 in docs/internals/failure-model.md). Others continue, the
// server does not spin, and when the client is continued, its operation ends as usual.
#include <chrono>
#include <gtest/gtest.h>
#include <thread>

#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/raw_connection.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

// Other clients work while one is stopped; then no client works, and the server sleeps.
void expect_others_undisturbed(const Server& server) {
  Peer direct(server);
  PeerSetup setup;
  setup.reads = Reads::kRing;
  Peer ring(server, setup);
  direct.say("hammer direct 300");
  ring.say("hammer ring 300");
  for (Peer* peer : {&direct, &ring}) {
    const Reply reply = peer->reply();
    EXPECT_EQ(reply, StatusCode::kOk) << reply;
    EXPECT_GT(std::stoull(reply.text), 50u) << "rounds in 300 ms";
  }
  EXPECT_EQ(direct.put("large", "#300000:3"), StatusCode::kOk);
  EXPECT_EQ(ring.get("large").text, Peer::told_of(pattern(300'000, 3)));
  for (Peer* peer : {&direct, &ring}) EXPECT_EQ(peer->leave(), kSuccess);

  const std::uint64_t before = cpu_ticks(server.pid());
  const auto begin = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count();
  const std::uint64_t ticks = cpu_ticks(server.pid()) - before;
  EXPECT_LT(ticks * 10, static_cast<std::uint64_t>(milliseconds) / 4) << "the server spins: ticks of 10 ms";
}

class StoppedClient : public testing::TestWithParam<const char*> {};

TEST_P(StoppedClient, DisturbsNobodyAndWorksWhenContinued) {
  Server server({"10"});
  Program stopped({program("stepping_client"), server.name(), server.dir(), GetParam(), "STOP"});
  ASSERT_TRUE(eventually([&] { return is_stopped(stopped.pid()); }));
  expect_others_undisturbed(server);
  stopped.send(SIGCONT);
  EXPECT_EQ(stopped.hear(), "done 0");
  EXPECT_EQ(stopped.wait(), kSuccess);
  const std::string value = std::string(GetParam()) == "streaming" ? pattern(100'000, 7) : "value";
  EXPECT_TRUE(*server.connect().get("step") == value);
  EXPECT_EQ(server.stat("poisoned"), 0u);
  EXPECT_EQ(server.stat("reaped"), 0u);
}

INSTANTIATE_TEST_SUITE_P(InTheMiddleOf, StoppedClient, testing::Values("writing", "sent", "streaming"),
                         [](const auto& test) { return std::string(test.param); });

TEST(StoppedClients, AClientThatNeverTakesItsAnswersDisturbsNobody) {
  Server server({"10", "--ring-size", "4096"});
  {
    Peer writer(server);
    EXPECT_EQ(writer.put("step", "#900:1"), StatusCode::kOk);
  }
  // Gets and puts whose answers are not taken, until the server can answer no more and the requests fill their ring.
  const auto connection = RawConnection::connected(server.instance());
  std::uint64_t asked = 0;
  while (connection->producer().head() < 4096 - 64) {
    connection->send(asked % 2 == 0 ? Op::kGet : Op::kPut, true, "step", asked % 2 == 0 ? "" : std::to_string(asked));
    ++asked;
  }
  expect_others_undisturbed(server);
  // Now it takes them: each is answered, in order.
  for (std::uint64_t i = 0; i < asked; ++i) {
    ASSERT_EQ(connection->answer(std::chrono::seconds(10)), StatusCode::kOk) << "answer " << i << " of " << asked;
    connection->wake_worker();  // as the client library does when it makes room
  }
  EXPECT_EQ(server.stat("poisoned"), 0u);
  connection->header().client.closed.store(1);
  connection->ring_server();
  EXPECT_TRUE(server.connections_come_to(0));
}

TEST(StoppedClients, ASmallPutIsServedWhileAnotherClientStopsInMidStreamAgainAndAgain) {
  Server server({"10", "--ring-size", "8K"});
  Peer streaming(server);
  Peer small(server);
  streaming.say("stream large 200000 1000000");
  EXPECT_EQ(streaming.program().hear(), "sending 1000000");
  std::uint64_t last = 0;
  for (int round = 0; round < 20; ++round) {
    streaming.program().send(SIGSTOP);
    ASSERT_TRUE(eventually([&] { return is_stopped(streaming.pid()); }));
    ASSERT_EQ(small.put("small", std::to_string(round)), StatusCode::kOk);
    ASSERT_EQ(small.get("small").text, Peer::told_of(std::to_string(round)));
    // A get of the large value meanwhile returns a whole value, and never an older one than before.
    Client reader = server.connect();
    if (const Result<std::string> got = reader.get("large"); got) {
      const std::optional<std::uint64_t> number = unseal(*got, digest("large"));
      ASSERT_TRUE(number.has_value());
      ASSERT_GE(*number, last);
      last = *number;
    }
    streaming.program().send(SIGCONT);
    ASSERT_TRUE(eventually([&] {
      const Result<std::string> got = reader.get("large");
      return got && unseal(*got, digest("large")).value_or(0) > last;
    })) << "it does not continue";
  }
  streaming.kill();
}

}  // namespace
}  // namespace hostmap::test
