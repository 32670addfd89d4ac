// A server is killed, its files are removed, and another one is started under the name. Connected clients and readers get no
// notice of this; they find the new server by themselves.
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "layout/region.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using namespace std::chrono_literals;

using Read = StatusCode (*)(Client&);

constexpr std::string_view kPair = "8 bytes!";  // the key, and its value

// The value of a key that only the second server has.
constexpr std::pair<std::string_view, Read> kReads[] = {
    {"get", [](Client& client) { return client.get("key").status().code(); }},
    {"get_into",
     [](Client& client) {
       std::byte buffer[3];
       return client.get_into("key", buffer).status().code();
     }},
    {"exists", [](Client& client) { return client.exists("key").code(); }},
    {"multi_get",
     [](Client& client) {
       const std::string_view keys[] = {"another", "key"};
       return client.multi_get(keys)[1].status().code();
     }},
    {"get of a pair", [](Client& client) { return client.get(kPair).status().code(); }},
};

// A client that makes one kind of read and nothing else.
struct Reader {
  std::string_view name;
  Read read;
  Client client;
  StatusCode look() { return read(client); }
};

class Successor : public testing::Test {
 protected:
  Options options(bool read_only = false) {
    Options options = first_->options(2s);
    options.read_only = read_only;
    return options;
  }
  // Kills the first server, removes its files, calls `between`, and starts another server.
  void replace(const std::function<void()>& between = {}) {
    const std::string name = first_->name();
    first_->kill();
    first_->remove_regions();
    if (between) between();
    second_ = std::make_unique<Server>(std::vector<std::string>{"10"}, ServerSetup{name});
    EXPECT_TRUE(second_->connect().put("key", "new").ok());
  }

  // One client for each kind of read.
  std::vector<Reader> readers(bool read_only) {
    std::vector<Reader> readers;
    for (const auto& [name, read] : kReads) {
      Result<Client> client = Client::connect(options(read_only));
      EXPECT_TRUE(client);
      if (client) readers.push_back({name, read, std::move(*client)});
    }
    return readers;
  }
  void replace_for_readers() {
    replace();
    EXPECT_TRUE(second_->connect().put(kPair, kPair).ok());
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

TEST_F(Successor, ACallThatAlreadyWaitsEnds) {
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

TEST_F(Successor, AReadByRingContinuesWithIt) {
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

TEST_F(Successor, AReaderSwitchesToItAndNotBefore) {
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

TEST_F(Successor, ASlowReaderFindsItWithoutAWrite) {
  for (const bool read_only : {true, false}) {
    SCOPED_TRACE(read_only);
    if (second_ != nullptr) first_ = std::move(second_);
    ASSERT_TRUE(first_->connect().clear().ok());
    std::vector<Reader> slow = readers(read_only);
    for (Reader& reader : slow) EXPECT_EQ(reader.look(), StatusCode::kNotFound) << reader.name;
    replace_for_readers();
    for (Reader& reader : slow) {
      EXPECT_TRUE(eventually([&] { return reader.look() == StatusCode::kOk; })) << reader.name;
    }
  }
}

TEST_F(Successor, ABusyReaderFindsItWithoutAWrite) {
  std::vector<Reader> busy = readers(false);
  std::vector<std::atomic<int>> reads(busy.size());
  std::vector<StatusCode> last(busy.size(), StatusCode::kNotFound);
  std::atomic<bool> enough{false};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < busy.size(); ++i) {
    threads.emplace_back([&, i] {
      while (last[i] == StatusCode::kNotFound && !enough) {
        last[i] = busy[i].look();
        ++reads[i];
      }
      reads[i] = -1;
    });
  }
  for (std::atomic<int>& count : reads) EXPECT_TRUE(eventually([&] { return count > 10'000; }));
  replace_for_readers();
  for (std::atomic<int>& count : reads) EXPECT_TRUE(eventually([&] { return count == -1; }));
  enough = true;
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < busy.size(); ++i) EXPECT_EQ(last[i], StatusCode::kOk) << busy[i].name;
}

TEST_F(Successor, EachOfSeveralReadersUsedInTurnFindsIt) {
  std::vector<Reader> in_turn = readers(false);
  const auto all = [&](StatusCode wanted) {
    std::size_t count = 0;
    for (Reader& reader : in_turn) count += reader.look() == wanted ? 1 : 0;
    return count == in_turn.size();
  };
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(all(StatusCode::kNotFound));
  replace_for_readers();
  const auto end = std::chrono::steady_clock::now() + kPatience;
  bool found = false;
  while (!found && std::chrono::steady_clock::now() < end) found = all(StatusCode::kOk);
  EXPECT_TRUE(found);
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

// Files under the name count only if their server lives.
TEST_F(Successor, ATableWithoutALiveServerIsNotFollowed) {
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
