// Idle clients, each in its own process, and their server use no processor time.
#include <chrono>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "process/harness/peer.hpp"
#include "process/harness/proc.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

void be_idle(const char* workers) {
  Server server({"10", "--workers", workers});
  std::vector<Peer> peers;
  for (int i = 0; i < 64; ++i) peers.emplace_back(server);
  for (Peer& peer : peers) {
    ASSERT_EQ(peer.put("key", "value"), StatusCode::kOk);
    ASSERT_EQ(peer.get("key").text, Peer::told_of("value"));
  }
  std::this_thread::sleep_for(std::chrono::seconds(3));  // until all work that connecting caused is done
  std::vector<std::uint64_t> before;
  for (const Peer& peer : peers) before.push_back(voluntary_switches(peer.pid()));
  const std::uint64_t server_switches = voluntary_switches(server.pid());
  const std::uint64_t server_ticks = cpu_ticks(server.pid());
  std::this_thread::sleep_for(std::chrono::seconds(5));
  for (std::size_t i = 0; i < peers.size(); ++i)
    EXPECT_EQ(voluntary_switches(peers[i].pid()), before[i]) << "client " << i;
  EXPECT_LE(voluntary_switches(server.pid()) - server_switches, 20u);
  EXPECT_LE(cpu_ticks(server.pid()) - server_ticks, 1u);
  EXPECT_EQ(server.stat("timeout_rescues"), 0u);
  EXPECT_EQ(server.stat("client_timeout_rescues"), 0u);
  // They still answer immediately.
  for (Peer& peer : peers) ASSERT_EQ(peer.put("key", "other"), StatusCode::kOk);
}

TEST(Idle, SixtyFourIdleClientsDoNotWakeAndTheServerHardlyDoes) { be_idle("1"); }
TEST(IdleSlow, SixtyFourIdleClientsDoNotWakeAndAServerOfFourWorkersHardlyDoes) { be_idle("4"); }

}  // namespace
}  // namespace hostmap::test
