// A server is killed, its files are removed, and another one is started under the name: nothing tells those who were connected,
// or only read. They find the new one by themselves.
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <thread>

#include "process/support/peer.hpp"
#include "process/support/server.hpp"
#include "shm/layout.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

class Successor : public testing::Test {
 protected:
  Options options(bool read_only = false) {
    Options options = first_->options(2s);
    options.read_only = read_only;
    return options;
  }
  // Kills the first server, removes its files, starts another one; `between`: before that.
  void replace(const std::function<void()>& between = {}) {
    const std::string name = first_->name();
    first_->kill();
    first_->remove_regions();
    if (between) between();
    second_ = std::make_unique<Server>(std::vector<std::string>{"10"}, ServerSetup{name});
    EXPECT_TRUE(second_->connect().put("key", "new").ok());
  }

  std::unique_ptr<Server> first_ = std::make_unique<Server>(std::vector<std::string>{"10"});
  std::unique_ptr<Server> second_;
};

TEST_F(Successor, AWriterFindsItAfterOneCallThatWaited) {
  Result<Client> client = Client::connect(options());
  ASSERT_TRUE(client);
  ASSERT_TRUE(client->put("key", "old").ok());
  replace();
  EXPECT_EQ(client->put("other", "value").code(), StatusCode::kClosed);
  EXPECT_TRUE(client->put("other", "value").ok());
  EXPECT_EQ(*client->get("key"), "new");
  EXPECT_EQ(*second_->connect().get("other"), "value");
}

TEST_F(Successor, AQueueOfWritesReportsThatTheyAreLost) {
  Result<Client> client = Client::connect(options());
  ASSERT_TRUE(client);
  ASSERT_TRUE(client->put("key", "old").ok());
  replace();
  EXPECT_TRUE(client->put_async("other", "value").ok());
  EXPECT_EQ(client->flush().code(), StatusCode::kClosed);
  EXPECT_TRUE(client->put_async("other", "value").ok());
  EXPECT_TRUE(client->flush().ok());
  EXPECT_EQ(*second_->connect().get("other"), "value");
}

TEST_F(Successor, ACallThatWaitsAlreadyBreaksOff) {
  PeerSetup patient;
  patient.timeout = 10 * kPatience;
  Peer sleeper(*first_, patient);
  ASSERT_EQ(sleeper.put("key", "old"), StatusCode::kOk);
  first_->pause();
  sleeper.say("put other value");
  replace();
  EXPECT_EQ(sleeper.reply(), StatusCode::kClosed);
  EXPECT_EQ(sleeper.put("other", "value"), StatusCode::kOk);
}

TEST_F(Successor, AReadByRingGoesOnWithIt) {
  Options by_ring = options();
  by_ring.reads = Reads::kRing;
  by_ring.timeout = kPatience;
  Result<Client> client = Client::connect(by_ring);
  ASSERT_TRUE(client);
  ASSERT_TRUE(client->put("key", "old").ok());
  ASSERT_EQ(*client->get("key"), "old");
  replace();
  EXPECT_EQ(*client->get("key"), "new");
}

TEST_F(Successor, AReaderGoesOnWithItAndNotBefore) {
  Result<Client> client = Client::connect(options(true));
  ASSERT_TRUE(client);
  ASSERT_TRUE(first_->connect().put("key", "old").ok());
  EXPECT_EQ(*client->get("key"), "old");
  replace([&] {
    std::this_thread::sleep_for(1500ms);
    EXPECT_EQ(*client->get("key"), "old") << "while there is no other";
  });
  EXPECT_TRUE(eventually([&] { return *client->get("key") == "new"; }));
  std::byte buffer[3];
  EXPECT_EQ(*client->get_into("key", buffer), 3u);
  const std::string_view keys[] = {"key"};
  EXPECT_EQ(*client->multi_get(keys)[0], "new");
}

TEST_F(Successor, CountsAndScansOfAClientThatNeverWritesFindItToo) {
  for (const bool read_only : {true, false}) {
    SCOPED_TRACE(read_only);
    if (second_ != nullptr) first_ = std::move(second_);
    Result<Client> client = Client::connect(options(read_only));
    ASSERT_TRUE(client);
    ASSERT_TRUE(first_->connect().put("another", "old").ok());
    replace();
    EXPECT_TRUE(eventually([&] {
      std::string keys;
      const Status status = client->scan("", [&](std::string_view key, std::string_view) {
        keys += key;
        return true;
      });
      return status.ok() && keys == "key" && *client->size() == 1;
    }));
    EXPECT_EQ(*client->get("key"), "new");
  }
}

// What lies under the name counts only with a server that lives.
TEST_F(Successor, ATableWithoutAServerBehindItIsNotFollowed) {
  Result<Client> client = Client::connect(options(true));
  ASSERT_TRUE(client);
  ASSERT_TRUE(first_->connect().put("key", "old").ok());
  first_->kill();
  const std::string table = first_->instance().table();
  std::string head(4096, '\0');
  {
    std::ifstream file(table, std::ios::binary);
    file.read(head.data(), static_cast<std::streamsize>(head.size()));
  }
  const std::uint64_t bytes = head.size();
  std::memcpy(head.data() + offsetof(RegionHeader, bytes), &bytes, sizeof bytes);
  std::filesystem::remove(table);
  std::ofstream(table, std::ios::binary) << head;
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_for(1100ms);
    const Result<std::string> value = client->get("key");
    ASSERT_TRUE(value) << value.status().message();
    EXPECT_EQ(*value, "old");
  }
  first_->remove_regions();
}

}  // namespace
}  // namespace hostmap::test
