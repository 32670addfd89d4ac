// A server that hands over, stops or is killed while it compares, hashes or copies a value of 20 MiB for a request: the next one
// serves the request, once.
#include <atomic>
#include <chrono>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "layout/table.hpp"
#include "process/harness/server.hpp"
#include "shm/region.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kLong = std::size_t{20} << 20;

enum class Way : std::uint8_t { kTakeover, kKeptStop, kKill };

class LongWorkAndRestarts : public testing::TestWithParam<Way> {
 protected:
  struct Operation {
    const char* name;
    std::function<Status(Client&)> call;
    // What the server has taken for it when it copies, beside the key's value. 0: it only reads.
    std::size_t taken;
    std::string after;  // the content of the key; empty: absent
  };

  LongWorkAndRestarts() : server_(start({})) {
    busy_ = std::jthread([this](const std::stop_token& stop) {
      Result<Client> client = Client::connect(patient());
      ASSERT_TRUE(client) << client.status().message();
      while (!stop.stop_requested()) {
        for (int i = 0; i < 100; ++i) ASSERT_TRUE(client->put_async("busy", "busy").ok());
        ASSERT_TRUE(client->flush().ok());
      }
    });
  }

  void TearDown() override {
    busy_.request_stop();
    busy_.join();
    EXPECT_EQ(server_->stop(), kSuccess) << server_->errors();
    server_->remove_regions();
  }

  static std::vector<std::string> arguments(const std::vector<std::string>& more) {
    std::vector<std::string> all{"10", "--memory", "256M", "--workers", "1", "--keep"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::unique_ptr<Server> start(const std::vector<std::string>& more) {
    return std::make_unique<Server>(arguments(more), ServerSetup{name_});
  }
  Options patient() const {
    Options options;
    options.name = name_;
    options.timeout = 60s;
    options.wait_for_server = true;
    return options;
  }
  std::uint64_t entry_bytes() const { return table_->at<TableHeader>(0)->lane_stats[0].entry_bytes.load(); }

  // Stops the server's threads in the middle of the operation. False: it was answered before.
  bool pause_in_the_middle(const Operation& operation, std::uint64_t before, const std::atomic<bool>& sent,
                           const std::atomic<bool>& answered) {
    const auto is_copying = [&] { return entry_bytes() >= before + operation.taken + kLong; };
    while (!sent) std::this_thread::yield();
    if (operation.taken == 0) {
      std::this_thread::sleep_for(2ms);
    } else {
      while (!answered && !is_copying()) std::this_thread::yield();
    }
    server_->pause();
    if (!answered && (operation.taken == 0 || is_copying())) return true;
    server_->send(SIGCONT);
    return false;
  }
  // Of a server that stands still.
  void replace_server() {
    switch (GetParam()) {
      case Way::kTakeover: {
        const std::jthread later([old = server_->pid()] {
          std::this_thread::sleep_for(200ms);
          ::kill(old, SIGCONT);
        });
        std::unique_ptr<Server> next = start({"--takeover"});
        EXPECT_EQ(server_->wait(), kSuccess) << server_->errors();
        server_ = std::move(next);
        return;
      }
      case Way::kKeptStop:
        server_->send(SIGTERM);
        server_->send(SIGCONT);
        EXPECT_EQ(server_->wait(), kSuccess) << server_->errors();
        break;
      case Way::kKill:
        server_->kill();
        break;
    }
    server_ = start({});
  }

  void try_out(const Operation& operation) {
    SCOPED_TRACE(operation.name);
    constexpr int kMostTries = 50;
    bool in_the_middle = false;
    Result<Client> client = Client::connect(patient());
    ASSERT_TRUE(client) << client.status().message();
    for (int tries = 0; !in_the_middle && tries < kMostTries; ++tries) {
      ASSERT_TRUE(client->put("key", old_).ok());
      const Result<Region> table = Region::attach(server_->instance().table(), RegionKind::kTable, Access::kReadOnly);
      ASSERT_TRUE(table) << table.status().message();
      table_ = &*table;
      const std::uint64_t before = entry_bytes();
      std::atomic<bool> sent = false;
      std::atomic<bool> answered = false;
      Status status;
      std::jthread caller([&] {
        sent = true;
        status = operation.call(*client);
        answered = true;
      });
      in_the_middle = pause_in_the_middle(operation, before, sent, answered);
      if (in_the_middle) replace_server();
      caller.join();
      EXPECT_TRUE(status.ok()) << status.message();
      const Result<std::string> now = client->get("key");
      if (operation.after.empty()) {
        EXPECT_EQ(now.status().code(), StatusCode::kNotFound);
      } else {
        ASSERT_TRUE(now) << now.status().message();
        EXPECT_TRUE(*now == operation.after) << "once, and whole";
      }
    }
    EXPECT_TRUE(in_the_middle);
    const Ran check = run({program("hostmap"), "--name", name_, "check"});
    EXPECT_EQ(check.exit, kSuccess) << check.output << check.errors;
  }

  const std::string name_ = unique_name();
  const std::string old_ = std::string(kLong, 'o');
  const std::string new_ = std::string(kLong - 5, 'n');
  std::unique_ptr<Server> server_;
  const Region* table_ = nullptr;
  std::jthread busy_;  // so that each step takes longer
};

TEST_P(LongWorkAndRestarts, AnAppendIsAppliedOnce) {
  try_out({"append", [](Client& client) { return client.append("key", "tail").status(); }, 1, old_ + "tail"});
}
TEST_P(LongWorkAndRestarts, ACompareExchangeIsAppliedOnce) {
  try_out({"compare_exchange", [&](Client& client) { return client.compare_exchange("key", old_, new_); },
           2 * kLong - 5, new_});
}
TEST_P(LongWorkAndRestarts, APutIfAndAnEraseIfAreAppliedOnce) {
  Token token;
  {
    Result<Client> client = Client::connect(patient());
    ASSERT_TRUE(client && client->put("key", old_).ok());
    token = client->get_with_token("key")->token;
  }
  try_out({"put_if", [&](Client& client) { return client.put_if("key", new_, token); }, kLong - 5, new_});
  try_out({"erase_if", [&](Client& client) { return client.erase_if("key", token); }, 0, ""});
}

std::string name_of(const testing::TestParamInfo<Way>& test) {
  if (test.param == Way::kTakeover) return "Takeover";
  return test.param == Way::kKeptStop ? "KeptStop" : "Kill";
}
INSTANTIATE_TEST_SUITE_P(Of, LongWorkAndRestarts, testing::Values(Way::kTakeover, Way::kKeptStop, Way::kKill), name_of);

}  // namespace
}  // namespace hostmap::test
