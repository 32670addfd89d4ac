// A client that was idle notifies the server's worker of a new request by a bit in the master region: between processes, and
// for each of several workers.
#include <atomic>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "shm/region.hpp"
#include "slot/client_reservation.hpp"

namespace hostmap::test {
namespace {

class IdleCrowd : public testing::Test {
 protected:
  static constexpr std::uint32_t kWorkers = 2;  // and lanes
  static constexpr int kKeys = 16;              // some of either lane

  IdleCrowd() {
    for (int i = 0; i < 8; ++i) peers_.push_back(std::make_unique<Peer>(server_));
    for (const auto& peer : peers_) put_all(*peer, "put");
    for (const std::string& path : server_.connection_files()) {
      connections_.push_back(std::move(*Region::attach(path, RegionKind::kConnection, Access::kReadOnly)));
    }
    master_ = std::move(*Region::attach(server_.instance().master(), RegionKind::kMaster, Access::kReadOnly));
    flooder_ = std::jthread([this] {
      Client client = server_.connect(Options::kForever);
      for (std::uint64_t i = 0; !enough_.load(); ++i) {
        ASSERT_EQ(client.put_async("flood " + std::to_string(i % 1000), "value"), StatusCode::kOk);
      }
      EXPECT_EQ(client.flush(), StatusCode::kOk);
    });
  }
  ~IdleCrowd() override { enough_.store(true); }

  static void put_all(Peer& peer, const std::string& how) {
    for (int key = 0; key < kKeys; ++key) {
      ASSERT_EQ(peer.ask(how + " key" + std::to_string(key) + " value"), StatusCode::kOk);
    }
  }
  bool all_idle() const {
    for (const Region& connection : connections_) {
      for (std::uint32_t lane = 0; lane < kWorkers; ++lane) {
        if (connection.at<ChannelControl>(channel_control_offset(lane))->idle.load() == 0) return false;
      }
    }
    return true;
  }
  // Hints of the requests before: a worker takes them once a channel has left its sweep, which is later than it requests hints.
  bool no_hints() const {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if (hinted(id_of(i)) != 0) return false;
    }
    return true;
  }
  std::uint64_t id_of(std::size_t connection) const { return connections_[connection].at<ConnectionHeader>(0)->id; }
  // The workers whose line has this connection's bit.
  std::uint32_t hinted(std::uint64_t id) const {
    std::uint32_t workers = 0;
    const std::uint64_t bucket = id % kIdleBuckets;
    for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
      const auto& hints = master_.at<IdleHints>(kIdleHintsOffset)[worker];
      workers += hints.words[bucket / 32].load() >> bucket % 32 & 1;
    }
    return workers;
  }

  Server server_{{"10", "--workers", std::to_string(kWorkers)}};
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<Region> connections_;
  Region master_;
  std::atomic<bool> enough_{false};
  std::jthread flooder_;
};

TEST_F(IdleCrowd, AnIdleClientSetsItsHintForEachWorkerAndTheWorkersTakeIt) {
  ASSERT_TRUE(eventually([&] { return all_idle() && no_hints(); }));
  server_.pause();
  put_all(*peers_[0], "put_async");
  std::size_t connection = 0;
  while (connection < connections_.size() && hinted(id_of(connection)) == 0) ++connection;
  ASSERT_LT(connection, connections_.size()) << "no hint";
  EXPECT_EQ(hinted(id_of(connection)), kWorkers);
  for (std::size_t other = 0; other < connections_.size(); ++other) {
    if (other == connection) continue;
    EXPECT_EQ(hinted(id_of(other)), 0u) << "a hint of a client that has no request";
  }
  server_.send(SIGCONT);
  EXPECT_EQ(peers_[0]->flush(), StatusCode::kOk);
  EXPECT_TRUE(eventually([&] { return hinted(id_of(connection)) == 0; })) << "the workers do not take it";
}

}  // namespace
}  // namespace hostmap::test
