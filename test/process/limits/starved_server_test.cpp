// A server's process has no memory left (fault case 23 in docs/internals/failure-model.md): each allocation of its start,
// and each while it serves, fails once, alone or with all later ones (programs/starved_server.cpp). The server reports it,
// refuses the request, leaves nothing incomplete, and continues to serve.
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <thread>

#include <hostmap/client.hpp>

#include "process/harness/own_shm.hpp"
#include "process/harness/program.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

constexpr auto kWatchdog = std::chrono::seconds(60);

// What clients do that makes a server allocate: connect, open a channel, stream, make the table grow. `number` makes the
// keys new. Returns how many calls were refused; any other result is a failure.
int make_it_work(const std::string& name, int number) {
  int refused = 0;
  const auto look = [&refused](const Status& status, std::initializer_list<StatusCode> also, const char* call) {
    if (status == StatusCode::kFull) {
      ++refused;
    } else if (!status.ok() && std::find(also.begin(), also.end(), status.code()) == also.end()) {
      ADD_FAILURE() << call << ": " << status.message();
    }
  };
  Options options;
  options.name = name;
  options.timeout = kPatience;
  Result<Client> client = Client::connect(options);
  look(client.status(), {}, "connect");
  if (!client) return refused;
  const std::string prefix = std::to_string(number) + " ";
  const std::string large(200'000, 'l');
  look(client->put(prefix + "large", large), {}, "put, streamed");
  for (int i = 0; i < 100; ++i) {
    look(client->put(prefix + std::to_string(i), large.substr(0, static_cast<std::size_t>(40 * i))), {}, "put");
  }
  look(client->increment(prefix + "number", 1).status(), {}, "increment");
  look(client->erase(prefix + "large"), {StatusCode::kNotFound}, "erase");
  look(client->erase(std::string(40'000, 'k')), {StatusCode::kNotFound}, "erase, streamed");
  std::thread other([&] { look(client->put(prefix + "other", "lane"), {}, "put by another thread"); });
  other.join();
  look(client->flush(), {}, "flush");
  return refused;
}

class StarvedServer : public ::testing::Test {
 protected:
  StarvedServer() : name_(unique_name()), program_({program("starved_server"), name_, "/dev/shm"}) {}

  // The lines of the start; then it serves.
  std::vector<std::string> started() {
    std::vector<std::string> lines;
    while (const auto line = program_.next_line(kWatchdog)) {
      if (*line == "ready") return lines;
      lines.push_back(*line);
    }
    ADD_FAILURE() << "it does not start: " << program_.errors();
    return lines;
  }
  std::string ask(const std::string& line) {
    program_.say(line);
    return program_.hear(kWatchdog);
  }

  std::string name_;
  Program program_;
};

TEST_F(StarvedServer, EachStartWithoutMemorySaysSoAndLeavesNothing) {
  std::map<std::string, int> refused;
  for (const std::string& line : started()) {
    std::istringstream words(line);
    std::string start, kind, message;
    unsigned long k = 0;
    int code = 0;
    words >> start >> kind >> k >> code;
    std::getline(words, message);
    ++refused[kind];
    EXPECT_EQ(code, static_cast<int>(StatusCode::kFull)) << line;
    EXPECT_NE(message.find("out of memory") + message.find("cannot create a thread"), 2 * std::string::npos) << line;
    EXPECT_EQ(message.find("\n"), std::string::npos);
  }
  EXPECT_GE(refused["once"], 10);
  EXPECT_GE(refused["onward"], 10);
  // None of these starts found anything of the one before, or it would have logged that it discards or recovers it.
  EXPECT_EQ(program_.errors().find("discarded"), std::string::npos) << program_.errors();
  EXPECT_EQ(program_.errors().find("recovered"), std::string::npos) << program_.errors();
  program_.close_input();
  EXPECT_EQ(program_.wait(), kSuccess) << program_.errors();
  EXPECT_EQ(files_of_instance(name_), std::vector<std::string>());
}

TEST_F(StarvedServer, EachFailedAllocationIsARefusalAndItContinuesToServe) {
  started();
  int number = 0;
  int refused = 0;
  int reached = 0;
  for (const char* kind : {"once", "onward"}) {
    // The allocations depend on the order in which threads run, so the end must be found three times.
    for (int k = 1, ends = 0; ends < 3; ++k) {
      SCOPED_TRACE(std::to_string(k) + " " + kind);
      ASSERT_EQ(ask("starve " + std::to_string(k) + " " + kind), "starved");
      refused += make_it_work(name_, ++number);
      const bool was_reached = ask("feed") == "reached 1";
      reached += was_reached;
      ends += !was_reached;
      EXPECT_EQ(make_it_work(name_, ++number), 0) << "with memory again";
      if (HasFailure()) break;
    }
  }
  EXPECT_GE(reached, 10);
  EXPECT_GE(refused, 10);
  EXPECT_TRUE(eventually([&] { return files_of_instance(name_).size() == 4; })) << "a connection is left";
  program_.close_input();
  EXPECT_EQ(program_.wait(), kSuccess) << program_.errors();
  EXPECT_EQ(files_of_instance(name_), std::vector<std::string>());
}

// A token of a long value is computed in steps, which need 600 bytes of the process.
TEST_F(StarvedServer, TheTokenOfALongValueIsComputedAtOnce) {
  started();
  Options options;
  options.name = name_;
  options.timeout = kPatience;
  Result<Client> client = Client::connect(options);
  ASSERT_TRUE(client) << client.status().message();
  const std::string value(4'000'000, 'v');
  ASSERT_TRUE(client->put("key", value).ok());
  ASSERT_TRUE(client->put("other", "value").ok());
  const Result<ValueAndToken> key_is = client->get_with_token("key");
  const Result<ValueAndToken> other_is = client->get_with_token("other");
  ASSERT_TRUE(key_is && other_is);
  const Token token = key_is->token;
  const Token other = other_is->token;
  // The first request of this connection may allocate for itself.
  ASSERT_EQ(client->erase_if("other", token), StatusCode::kMismatch);

  for (int times = 0; times < 3; ++times) {
    ASSERT_EQ(ask("starve 1 onward"), "starved");
    EXPECT_EQ(client->erase_if("key", other), StatusCode::kMismatch);
    EXPECT_EQ(client->put_if("key", value, token), StatusCode::kOk);
    EXPECT_EQ(ask("feed"), "reached 1") << "the steps need memory";
    EXPECT_EQ(client->put_if("key", value, token), StatusCode::kOk) << "with memory again";
  }
  ASSERT_EQ(ask("starve 1 onward"), "starved");
  EXPECT_EQ(client->erase_if("key", token), StatusCode::kOk);
  EXPECT_EQ(ask("feed"), "reached 1");
  EXPECT_EQ(client->erase_if("key", token), StatusCode::kNotFound);
  program_.close_input();
  EXPECT_EQ(program_.wait(), kSuccess) << program_.errors();
}

}  // namespace
}  // namespace hostmap::test
