// Options::read_only: a client without a connection.
#include <gtest/gtest.h>
#include <thread>

#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

Options read_only(const Server& server) {
  Options options = server.options();
  options.read_only = true;
  return options;
}

TEST(ReadOnly, ReadsWorkAndWritesAreRefused) {
  Server server({"10"});
  Client writer = server.connect();
  const std::string large(200'000, 'l');
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(writer.put("key " + std::to_string(i), large.substr(0, 10 * i)).ok());
  Result<Client> reader = Client::connect(read_only(server));
  ASSERT_TRUE(reader) << reader.status().message();
  EXPECT_EQ(*reader->get("key 7"), large.substr(0, 70));
  std::byte buffer[70];
  EXPECT_EQ(*reader->get_into("key 7", buffer), 70u);
  EXPECT_TRUE(reader->exists("key 0").ok());
  EXPECT_EQ(*reader->size(), 100u);
  const std::string_view keys[] = {"key 1", "nothing", "key 99"};
  const auto values = reader->multi_get(keys);
  EXPECT_EQ(*values[2], large.substr(0, 990));
  EXPECT_EQ(values[1].status().code(), StatusCode::kNotFound);
  int seen = 0;
  EXPECT_TRUE(reader->scan("key ", [&](std::string_view, std::string_view) { return ++seen < 1000; }).ok());
  EXPECT_EQ(seen, 100);
  const Status statuses[] = {reader->put("k", "v"),
                             reader->put_async("k", "v"),
                             reader->erase("key 1"),
                             reader->insert("k", "v"),
                             reader->clear(),
                             reader->compare_exchange("key 1", "a", "b"),
                             reader->increment("n").status(),
                             reader->increment("n", 0.5).status(),
                             reader->increment_as<std::int64_t>("n", 1).status(),
                             reader->append("key 1", "a").status(),
                             reader->replace("key 1", "a"),
                             reader->put_if("key 1", "a", Token{1, 1}),
                             reader->erase_if("key 1", Token{1, 1})};
  for (const Status& status : statuses) EXPECT_EQ(status.code(), StatusCode::kPermission) << status.message();
  EXPECT_TRUE(reader->flush().ok());
  EXPECT_EQ(server.stat("connected"), 1u);
  EXPECT_EQ(server.stat("entries"), 100u);
}

TEST(ReadOnly, ARingIsRefusedAndSoIsAMissingServer) {
  Server server({"10"});
  Options options = read_only(server);
  options.reads = Reads::kRing;
  EXPECT_EQ(Client::connect(options).status().code(), StatusCode::kInvalid);
  options = read_only(server);
  options.name = unique_name();
  EXPECT_EQ(Client::connect(options).status().code(), StatusCode::kNoServer);
}

TEST(ReadOnly, ItReadsWhileTheServerIsDeadAndBesideTheNext) {
  auto first = std::make_unique<Server>(std::vector<std::string>{"10"});
  const std::string name = first->name();
  ASSERT_TRUE(first->connect().put("key", "value").ok());
  Result<Client> reader = Client::connect(read_only(*first));
  ASSERT_TRUE(reader);
  first->kill();
  EXPECT_EQ(*reader->get("key"), "value");
  Server second({"10"}, {name});
  ASSERT_TRUE(second.connect().put("key", "other").ok());
  EXPECT_EQ(*reader->get("key"), "other");
}

TEST(ReadOnly, ItNoticesAStopAndFindsTheNextServer) {
  auto first = std::make_unique<Server>(std::vector<std::string>{"10"});
  const std::string name = first->name();
  ASSERT_TRUE(first->connect().put("key", "value").ok());
  Result<Client> reader = Client::connect(read_only(*first));
  ASSERT_TRUE(reader);
  EXPECT_EQ(*reader->get("key"), "value");
  EXPECT_EQ(first->stop(), kSuccess);
  EXPECT_EQ(reader->get("key").status().code(), StatusCode::kNoServer);
  EXPECT_EQ(reader->size().status().code(), StatusCode::kNoServer);
  Server second({"10"}, {name});
  ASSERT_TRUE(second.connect().put("key", "new").ok());
  EXPECT_EQ(*reader->get("key"), "new");
  EXPECT_EQ(*reader->size(), 1u);
}

// Long values while a client writes them all the time: without a ring, the reader retries until it gets a whole value.
TEST(ReadOnly, ItNeverReturnsAnIncompleteValueAndDoesNotGiveUp) {
  Server server({"10"});
  Client writer = server.connect();
  const auto value_of = [](int round) { return std::string(40'000, static_cast<char>('a' + round % 26)); };
  ASSERT_TRUE(writer.put("key", value_of(0)).ok());
  Result<Client> reader = Client::connect(read_only(server));
  ASSERT_TRUE(reader);
  std::atomic<bool> stop{false};
  std::thread writing([&] {
    for (int round = 0; !stop; ++round) EXPECT_TRUE(writer.put("key", value_of(round)).ok());
  });
  for (int i = 0; i < 300; ++i) {
    const Result<std::string> got = reader->get("key");
    ASSERT_TRUE(got) << got.status().message();
    EXPECT_EQ(got->size(), 40'000u);
    EXPECT_EQ(got->find_first_not_of(got->front()), std::string::npos);
  }
  stop = true;
  writing.join();
}

TEST(ReadOnly, AChildOfAForkReadsToo) {
  Server server({"10"});
  ASSERT_TRUE(server.connect().put("key", "value").ok());
  Result<Client> reader = Client::connect(read_only(server));
  ASSERT_TRUE(reader);
  Child child = Child::fork([&] {
    const Result<std::string> got = reader->get("key");
    return got && *got == "value" ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), kSuccess);
  EXPECT_EQ(*reader->get("key"), "value");
}

}  // namespace
}  // namespace hostmap::test
