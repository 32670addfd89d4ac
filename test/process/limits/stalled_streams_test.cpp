// Values arrive in pieces and their clients stop sending: the memory that they hold is bounded
// (server/run/stream_quota.hpp), so that enough remains for others.
#include <csignal>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "layout/connection.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/raw_connection.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kValueBytes =
    12 * kMiB;  // of 64: one within a connection's quarter, two within the half of all

// A put in pieces on a channel of a raw connection.
class Stream {
 public:
  Stream(RawConnection& connection, std::uint32_t channel)
      : connection_(connection),
        channel_(channel),
        producer_(connection.requests(channel), 0),
        answers_(connection.answers(channel), 0) {}

  // The head and the key.
  void announce(const std::string& key, std::uint64_t value_bytes) {
    left_ = key.size() + value_bytes;
    encode_stream(room_for(8), Op::kPut, key.size(), value_bytes);
    publish(8);
    piece(key, false);
  }
  // Has the server taken nothing of it? (The ring is a fresh one.)
  bool waits() const { return connection_.control(channel_).requests_consumed.load() == 0; }
  // The head and the key, which the server has taken when this returns.
  void begin(const std::string& key, std::uint64_t value_bytes) {
    announce(key, value_bytes);
    EXPECT_TRUE(eventually([&] { return connection_.control(channel_).requests_consumed.load() == producer_.head(); }));
  }
  // Sends the rest and returns the answer.
  StatusCode finish() {
    const std::string piece_bytes(16'000, 'p');
    while (left_ > 0) {
      const std::string next = piece_bytes.substr(0, std::min<std::uint64_t>(left_, piece_bytes.size()));
      piece(next, next.size() == left_);
    }
    return answer();
  }
  // A request that has a key alone: all of it but its last bytes, which the server has taken when this returns.
  void begin_with(Op op, std::string_view key, std::size_t last) {
    constexpr std::size_t kPieceBytes = 16'000;
    left_ = key.size();
    encode_stream(room_for(8), op, key.size(), 0);
    publish(8);
    for (key.remove_suffix(last); !key.empty(); key.remove_prefix(std::min(key.size(), kPieceBytes))) {
      piece(std::string(key.substr(0, kPieceBytes)), false);
    }
    EXPECT_TRUE(eventually([&] { return connection_.control(channel_).requests_consumed.load() == producer_.head(); }));
  }
  StatusCode finish_with(const std::string& last) {
    piece(last, true);
    return answer();
  }

 private:
  StatusCode answer() {
    Deadline deadline(std::chrono::seconds(30));
    while (!answers_.poll()) {
      if (deadline.left() == 0) return StatusCode::kTimeout;
      cpu_relax();
    }
    std::uint64_t word;
    std::memcpy(&word, answers_.record() + 8, sizeof word);
    const AnswerHead head = decode_answer_head(word);
    answers_.advance(record_bytes(head.value_bytes));
    connection_.control(channel_).answers_consumed.store(answers_.position());
    return static_cast<StatusCode>(head.code);
  }
  std::byte* room_for(std::uint64_t payload) {
    Deadline deadline(std::chrono::seconds(30));
    const std::uint64_t most = connection_.ring_bytes() / 2;
    while (producer_.head() + 2 * record_bytes(payload) - connection_.control(channel_).requests_consumed.load() >
           most) {
      if (deadline.left() == 0 || connection_.closed_by_server()) throw std::runtime_error("no room in the ring");
      cpu_relax();
    }
    return producer_.begin(record_bytes(payload));
  }
  void publish(std::uint64_t payload) {
    producer_.publish(record_bytes(payload));
    connection_.wake_worker();
  }
  void piece(const std::string& bytes, bool last) {
    encode_piece(room_for(bytes.size()), last, RawConnection::bytes_of(bytes), {}, 0, bytes.size());
    publish(bytes.size());
    left_ -= bytes.size();
  }

  RawConnection& connection_;
  std::uint32_t channel_;
  RingProducer producer_;
  RingConsumer answers_;
  std::uint64_t left_ = 0;
};

// A process that lets its streams stall: the connections are its own.
struct Stalled {
  explicit Stalled(const Server& server) : connection(RawConnection::connected(server.instance())) {}
  ~Stalled() {
    connection->header().client.closed.store(1);
    connection->ring_server();
  }
  Stream& stream(std::uint32_t channel) {
    if (channel > 0) {
      connection->header().client.channels_wanted.fetch_or(std::uint64_t{1} << channel);
      connection->ring_server();
      EXPECT_TRUE(eventually([&] { return (connection->header().server.channels_open.load() >> channel & 1) != 0; }));
    }
    return *streams.emplace_back(std::make_unique<Stream>(*connection, channel));
  }
  std::unique_ptr<RawConnection> connection;
  std::vector<std::unique_ptr<Stream>> streams;
};

class StalledStreams : public testing::Test {
 protected:
  StalledStreams() : server_(arguments()), honest_(server_) {}
  static std::vector<std::string> arguments() { return {"10", "--memory", "64M", "--workers", "1"}; }
  Reply put(const std::string& key, std::uint64_t bytes) {
    return honest_.put(key, "#" + std::to_string(bytes) + ":1");
  }
  Server server_;
  Peer honest_;
};

TEST_F(StalledStreams, AConnectionHoldsAQuarterOfTheMemoryAtMost) {
  Stalled stalled(server_);
  Stream& first = stalled.stream(0);
  Stream& second = stalled.stream(1);
  first.begin("first", kValueBytes);
  second.begin("second", kValueBytes);
  EXPECT_EQ(second.finish(), StatusCode::kFull);
  EXPECT_EQ(first.finish(), StatusCode::kOk);
  // A completed stream holds nothing.
  second.begin("second", kValueBytes);
  EXPECT_EQ(second.finish(), StatusCode::kOk);
  EXPECT_EQ(server_.stat("entries"), 2u);
}

TEST_F(StalledStreams, AStreamAloneMayBeOfAnySize) {
  Stalled stalled(server_);
  Stream& stream = stalled.stream(0);
  stream.begin("large", 40 * kMiB);
  EXPECT_EQ(stream.finish(), StatusCode::kOk);
}

TEST_F(StalledStreams, ManyConnectionsHoldHalfOfTheMemoryAtMostAndLeaveNothing) {
  std::vector<std::unique_ptr<Stalled>> many;
  for (int i = 0; i < 6; ++i) {
    many.push_back(std::make_unique<Stalled>(server_));
    many.back()->stream(0).begin("key " + std::to_string(i), kValueBytes);
  }
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(put("record " + std::to_string(i), 10'000), StatusCode::kOk);
  EXPECT_EQ(put("streamed", 5 * kMiB), StatusCode::kOk);
  EXPECT_EQ(put("large", kValueBytes), StatusCode::kFull);
  for (std::size_t i = 2; i < many.size(); ++i) EXPECT_EQ(many[i]->streams[0]->finish(), StatusCode::kFull);
  many.clear();
  EXPECT_TRUE(server_.connections_come_to(1));
  for (const char* key : {"large", "larger"}) EXPECT_EQ(put(key, kValueBytes), StatusCode::kOk);
}

TEST_F(StalledStreams, TheirMemoryIsCountedAfterARestart) {
  auto stalled = std::make_unique<Stalled>(server_);
  Stream& first = stalled->stream(0);
  first.begin("first", kValueBytes);
  server_.kill();
  Server again(arguments(), {server_.name()});
  Stream& second = stalled->stream(1);
  second.begin("second", kValueBytes);
  EXPECT_EQ(second.finish(), StatusCode::kFull);
  EXPECT_EQ(first.finish(), StatusCode::kOk);
  second.begin("second", kValueBytes);
  EXPECT_EQ(second.finish(), StatusCode::kOk);
}

// While the table is full, a request in pieces is stored in the journal's file; each kind of start continues with it. The longer
// value is read back from there in several steps.
class HeldStreams : public testing::TestWithParam<std::pair<std::uint64_t, const char*>> {};

TEST_P(HeldStreams, ContinueAfterAKillAKeptStopAndATakeover) {
  const auto [kBytes, memory] = GetParam();
  const std::vector<std::string> arguments{"10", "--memory", memory, "--workers", "1"};
  for (const std::string way : {"kill", "keep", "takeover"}) {
    SCOPED_TRACE(way);
    std::vector<std::string> first = arguments;
    if (way == "keep") first.push_back("--keep");
    auto server = std::make_unique<Server>(first);
    const std::string name = server->name();
    Client client = server->connect();
    ASSERT_TRUE(client.put("held", std::string(kBytes, 'v')).ok());
    for (int i = 0; client.put("fill " + std::to_string(i), std::string(kBytes, 'f')).ok(); ++i) {
    }
    const std::uint64_t entries = server->stat("entries");
    Stalled stalled(*server);
    Stream& stream = stalled.stream(0);
    stream.begin("held", kBytes);
    std::vector<std::string> again = arguments;
    if (way == "kill") server->kill();
    if (way == "keep") {
      EXPECT_EQ(server->stop(), kSuccess);
    }
    if (way == "takeover") again.push_back("--takeover");
    Server next(again, {name});
    if (way == "takeover") {
      EXPECT_EQ(server->wait(), kSuccess) << server->errors();
    }
    EXPECT_EQ(stream.finish(), StatusCode::kOk);
    EXPECT_EQ(*client.get("held"), std::string(kBytes, 'p'));
    EXPECT_EQ(next.stat("entries"), entries);
    EXPECT_EQ(next.stat("connected"), 2u) << "nobody has connected anew";
    EXPECT_EQ(run({program("hostmap"), "--name", name, "check"}).exit, kSuccess);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, HeldStreams, testing::Values(std::pair(20'000, "1M"), std::pair(1'500'000, "16M")),
                         [](const auto& size) { return std::to_string(size.param.first) + "Bytes"; });

// An erase and a get need no memory in the table, so their keys, however long, are held outside of it; a server that dies leaves
// them to the next one.
TEST(LongKeysInAFullMap, AnEraseAndAGetContinueAfterAKillAKeptStopAndATakeover) {
  const std::string key(kMaxKeyBytes, 'k');
  const std::string last(100, 'k');
  for (const Op op : {Op::kErase, Op::kGet}) {
    for (const std::string way : {"kill", "keep", "takeover"}) {
      SCOPED_TRACE((op == Op::kErase ? "erase, " : "get, ") + way);
      std::vector<std::string> arguments{"10", "--memory", "2M", "--workers", "1"};
      if (way == "keep") arguments.push_back("--keep");
      Server server(arguments);
      Client client = server.connect();
      ASSERT_TRUE(client.put(key, "value").ok());
      for (std::size_t bytes = 60'000; bytes > 0; bytes /= 8) {
        const std::string name = "fill " + std::to_string(bytes) + " ";
        for (int i = 0; client.put(name + std::to_string(i), std::string(bytes, 'f')).ok(); ++i) {
        }
      }
      const std::uint64_t entries = server.stat("entries");
      Stalled stalled(server);
      Stream& stream = stalled.stream(0);
      stream.begin_with(op, key, last.size());
      std::vector<std::string> again{"10"};
      if (way == "kill") server.kill();
      if (way == "keep") {
        EXPECT_EQ(server.stop(), kSuccess);
      }
      if (way == "takeover") again.push_back("--takeover");
      Server next(again, {server.name()});
      if (way == "takeover") {
        EXPECT_EQ(server.wait(), kSuccess) << server.errors();
      }
      EXPECT_EQ(stream.finish_with(last), StatusCode::kOk);
      EXPECT_EQ(client.exists(key), op == Op::kErase ? StatusCode::kNotFound : StatusCode::kOk);
      EXPECT_EQ(next.stat("entries"), op == Op::kErase ? entries - 1 : entries);
      EXPECT_EQ(next.stat("connected"), 2u) << "nobody has connected anew";
      EXPECT_EQ(run({program("hostmap"), "--name", next.name(), "check"}).exit, kSuccess);
    }
  }
}

// A request in pieces whose head waits in the ring, while memory for its value is being populated, is charged nothing yet. A
// server that ends in that moment leaves the head to the next one, which charges it once.
class WaitingStream : public testing::TestWithParam<const char*> {
 protected:
  static constexpr std::uint64_t kBytes = 60 * kMiB;
  static std::vector<std::string> arguments() { return {"10", "--memory", "256M", "--workers", "1"}; }

  // Stops a server in that moment; false: the server was faster.
  static bool stop_while_it_waits(const Server& server, Stalled& stalled) {
    const Word& memory = stalled.connection->table().server_stats.memory_bytes;
    const std::uint64_t before = memory.load();
    Stream& stream = stalled.stream(0);
    stream.announce("large", kBytes);
    EXPECT_TRUE(eventually([&] { return memory.load() > before + 2 * kMiB || !stream.waits(); }));
    server.pause();
    return stream.waits();
  }
  static bool has_pending_signal(pid_t process) {
    std::ifstream status("/proc/" + std::to_string(process) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("ShdPnd:")) return line.find_first_of("123456789abcdef") != std::string::npos;
    }
    return false;
  }
  // The next server, which begins while the first one is stopped.
  static std::unique_ptr<Server> successor(Server& server, const std::string& way) {
    if (way == "kill") {
      server.kill();
      return std::make_unique<Server>(arguments(), ServerSetup{server.name()});
    }
    if (way == "keep") {
      server.send(SIGTERM);
      server.send(SIGCONT);
      EXPECT_EQ(server.wait(), kSuccess);
      return std::make_unique<Server>(arguments(), ServerSetup{server.name()});
    }
    // (The next server is started by this thread: it would end with another one.)
    std::future<bool> asked = std::async(std::launch::async, [&] {
      const bool pending = eventually([&] { return has_pending_signal(server.pid()); });
      server.send(SIGCONT);
      return pending;
    });
    std::vector<std::string> taking_over = arguments();
    taking_over.push_back("--takeover");
    auto next = std::make_unique<Server>(taking_over, ServerSetup{server.name()});
    EXPECT_TRUE(asked.get()) << "the stopped server has got the request to hand over";
    EXPECT_EQ(server.wait(), kSuccess) << server.errors();
    return next;
  }
};

TEST_P(WaitingStream, IsChargedOnceByTheNextServer) {
  const std::string way = GetParam();
  constexpr int kAttempts = 50;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::vector<std::string> first = arguments();
    if (way == "keep") first.push_back("--keep");
    Server server(first);
    Stalled stalled(server);
    const bool waited = stop_while_it_waits(server, stalled);
    if (!waited) {
      server.send(SIGCONT);
      if (way == "keep") {
        EXPECT_EQ(server.stop(), kSuccess);
        server.remove_regions();
      }
      continue;
    }
    const std::unique_ptr<Server> next = successor(server, way);
    Stream& stream = *stalled.streams[0];
    EXPECT_TRUE(eventually([&] { return !stream.waits(); }));
    // It holds nearly a quarter of the limit: more than that is refused to this connection until it ends.
    Stream& other = stalled.stream(1);
    other.begin("other", kValueBytes);
    EXPECT_EQ(other.finish(), StatusCode::kFull);
    EXPECT_EQ(stream.finish(), StatusCode::kOk);
    other.begin("other", kValueBytes);
    EXPECT_EQ(other.finish(), StatusCode::kOk) << "the first one is charged no longer";
    // The memory in use is that of the two values, rounded up to whole slabs. (A debug build of the next server compares all
    // that it has counted with a count of the table.)
    const auto slabs = [](std::uint64_t bytes) { return round_up(entry_bytes(5, bytes), kSlabBytes) + kSlabBytes; };
    const std::uint64_t entry_bytes = next->stat("entry_bytes");
    EXPECT_GE(entry_bytes, kBytes + kValueBytes);
    EXPECT_LE(entry_bytes, slabs(kBytes) + slabs(kValueBytes));
    EXPECT_EQ(next->stat("connected"), 1u) << "nobody has connected anew";
    EXPECT_EQ(run({program("hostmap"), "--name", next->name(), "check"}).exit, kSuccess);
    // What is in use is what a server finds that counts it anew.
    next->kill();
    const Server counting(arguments(), {next->name()});
    EXPECT_EQ(counting.stat("entry_bytes"), entry_bytes);
    EXPECT_EQ(counting.stat("entries"), 2u);
    return;
  }
  FAIL() << "the memory was populated before the server was stopped, " << kAttempts << " times";
}

INSTANTIATE_TEST_SUITE_P(After, WaitingStream, testing::Values("kill", "keep", "takeover"),
                         [](const auto& way) { return std::string(way.param); });

}  // namespace
}  // namespace hostmap::test
