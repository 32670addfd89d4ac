// A worker with its table, and clients on the same mapping, all in one process, so that the thread sanitizer can follow a
// client's put to the bucket and its answer back.
#include "server/run/worker.hpp"

#include <gtest/gtest.h>
#include <random>
#include <sys/mman.h>
#include <thread>
#include <unordered_map>

#include "../table/table_fixture.hpp"
#include "connection/client_end.hpp"
#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kRingBytes = 4096;
constexpr std::uint64_t kMostRingBytes = 65536;
constexpr std::size_t kMostConnections = 64;
constexpr std::chrono::seconds kWatchdog{60};

class Memory {
 public:
  explicit Memory(std::size_t bytes) : bytes_(bytes) {
    data_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  }
  ~Memory() { ::munmap(data_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  std::size_t bytes_;
  void* data_;
};

// One connection, both ends, all channels open.
struct TestConnection {
  TestConnection(Worker& worker, Journal journal, std::uint32_t lanes, std::uint32_t index, std::uint64_t ring_bytes)
      : memory(connection_bytes(lanes, ring_bytes)) {
    ServerEnd::Identity identity;
    identity.serial = index + 1;
    identity.request_nonce = 0x1234'5678'9abc'def1 + 2 * index;
    identity.answer_nonce = 0xfedc'ba98'7654'3211 + 2 * index;
    identity.ring_bytes = ring_bytes;
    identity.lanes = lanes;
    identity.index = index;
    server = ServerEnd::over(memory.data(), identity);
    for (std::uint32_t channel = 0; channel < 2 * lanes; ++channel) {
      ChannelMemos::clear(journal.position(index, channel));
      worker.add_channel(std::make_unique<ServerChannel>(*server, channel, journal.position(index, channel)));
    }
  }
  Memory memory;
  std::unique_ptr<ServerEnd> server;
};

class WorkerTest : public testing::TestWithParam<bool> {  // are clients registered for membarrier?
 protected:
  WorkerTest() : table_({.memory = std::uint64_t{128} << 20}) {
    const bool membarrier = membarrier_available();
    expedited_ = GetParam() && membarrier && register_for_membarrier();
    worker_ = std::make_unique<Worker>(
        Worker::Surroundings{&table_.table(), &streams_, table_.journal(), table_.pieces(), &table_.header().workers[0],
                             std::span(&bell_, 1), &hints_, membarrier, &service_bell_.rings, kMostConnections,
                             kMostRingBytes},
        0, std::vector<std::uint32_t>{0});
    worker_->start();
  }
  ~WorkerTest() override {
    worker_.reset();
    EXPECT_EQ(table_.header().lane_stats[0].timeout_rescues.load(), 0u);
  }

  struct TestClient {
    TestConnection* connection;
    std::unique_ptr<ClientEnd> end;
    ClientChannel* writes;
    ClientChannel* reads;
  };
  TestClient connect(std::uint32_t index, std::uint64_t ring_bytes = kRingBytes) {
    TestClient client;
    connections_.push_back(std::make_unique<TestConnection>(*worker_, table_.journal(), 1, index, ring_bytes));
    client.connection = connections_.back().get();
    client.end = ClientEnd::over(client.connection->memory.data(), expedited_);
    Deadline deadline(kWatchdog);
    const WorkerView view{table_.header().lane_worker, table_.header().workers, &bell_, &hints_};
    client.writes = *client.end->channel(0, view, nullptr, deadline);
    client.reads = *client.end->channel(1, view, nullptr, deadline);
    return client;
  }
  static StatusCode call(ClientChannel& channel, Op op, std::string_view key, std::string_view value,
                         std::string* got = nullptr) {
    Deadline deadline(kWatchdog);
    if (Status status = channel.send_any(op, true, bytes_of(key), bytes_of(value), deadline); !status.ok())
      return status.code();
    if (Status status = channel.await_answer(deadline); !status.ok()) return status.code();
    const auto [code, bytes] = channel.answer();
    if (got != nullptr && bytes.size() >= sizeof(PieceHead)) {
      got->assign(reinterpret_cast<const char*>(bytes.data()) + sizeof(PieceHead), bytes.size() - sizeof(PieceHead));
    }
    channel.release();
    return code;
  }
  static StatusCode queue(ClientChannel& channel, std::string_view key, std::string_view value) {
    Deadline deadline(kWatchdog);
    return channel.send_any(Op::kPut, false, bytes_of(key), bytes_of(value), deadline).code();
  }

  TestTable table_;
  Bell bell_{};
  IdleHints hints_{};
  Bell service_bell_{};
  bool expedited_ = false;
  std::vector<std::unique_ptr<TestConnection>> connections_;  // outlive the worker that sweeps them
  StreamQuota streams_;
  std::unique_ptr<Worker> worker_;
};

TEST_P(WorkerTest, AnswersPutGetAndErase) {
  TestClient client = connect(0);
  EXPECT_EQ(call(*client.writes, Op::kPut, text_of(1), text_of(2)), StatusCode::kOk);
  std::string value;
  EXPECT_EQ(call(*client.reads, Op::kGet, text_of(1), {}, &value), StatusCode::kOk);
  EXPECT_EQ(value, text_of(2));
  EXPECT_EQ(get(table_.reader(), text_of(1)).value, text_of(2));
  EXPECT_EQ(call(*client.writes, Op::kErase, text_of(1), {}), StatusCode::kOk);
  EXPECT_EQ(call(*client.writes, Op::kErase, text_of(1), {}), StatusCode::kNotFound);
  EXPECT_EQ(call(*client.reads, Op::kGet, text_of(1), {}), StatusCode::kNotFound);
}

// A record wakes a parked worker, and an answer wakes a sleeping client, whatever the pauses between them are.
TEST_P(WorkerTest, EverySleeperIsWoken) {
  TestClient client = connect(0);
  std::mt19937_64 random(3);
  for (std::uint64_t i = 0; i < 400; ++i) {
    ASSERT_EQ(call(*client.writes, Op::kPut, text_of(i % 7), text_of(i)), StatusCode::kOk) << i;
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 100));
  }
  const Word& parks = table_.header().lane_stats[0].parks;
  Deadline deadline(kWatchdog);
  while (parks.load() == 0 && deadline.left() > 0) std::this_thread::yield();
  EXPECT_GT(parks.load(), 0u) << "the worker must have parked in between";
  ASSERT_EQ(call(*client.writes, Op::kPut, text_of(1), text_of(1)), StatusCode::kOk);
}

TEST_P(WorkerTest, QueuedWritesAreAppliedInOrderAndEachByItself) {
  TestClient client = connect(0);
  constexpr std::uint64_t kWrites = 20'000;
  const std::string key = text_of(5);
  for (std::uint64_t i = 1; i <= kWrites; ++i) ASSERT_EQ(queue(*client.writes, key, text_of(i)), StatusCode::kOk);
  EXPECT_EQ(call(*client.writes, Op::kFlush, {}, {}), StatusCode::kOk);
  EXPECT_EQ(get(table_.reader(), key).value, text_of(kWrites));
  EXPECT_EQ(table_.header().lane_stats[0].puts.load(), kWrites);
}

TEST_P(WorkerTest, AValueLargerThanTheRingArrivesWhole) {
  TestClient client = connect(0);
  for (const std::size_t size : {900, 1000, 1008, 1009, 4096, 5000, 100'000, 1'000'000}) {
    std::string value(size, '\0');
    for (std::size_t i = 0; i < size; ++i) value[i] = static_cast<char>(i * 31 + size);
    ASSERT_EQ(call(*client.writes, Op::kPut, "streamed", value), StatusCode::kOk) << size;
    ASSERT_EQ(get(table_.reader(), "streamed").value, value) << size;
  }
  const std::string long_key(65536, 'k');
  ASSERT_EQ(call(*client.writes, Op::kPut, long_key, "v"), StatusCode::kOk);
  EXPECT_EQ(get(table_.reader(), long_key).value, "v");
  EXPECT_EQ(call(*client.reads, Op::kGet, long_key, {}), StatusCode::kOk);
  ASSERT_EQ(call(*client.writes, Op::kErase, long_key, {}), StatusCode::kOk);
}

// A client that stalls in the middle of a stream delays no other client, and its pieces are dropped when it leaves.
TEST_P(WorkerTest, AStreamThatStallsHoldsOnlyItsOwnMemory) {
  TestClient stalled = connect(0);
  TestClient other = connect(1);
  // The beginning of a stream: its head and one piece.
  auto& header = *reinterpret_cast<ConnectionHeader*>(stalled.connection->memory.data());
  RingProducer ring(RingView(stalled.connection->memory.data() + request_ring_offset(0, 1, kRingBytes), kRingBytes,
                             header.request_nonce),
                    0);
  encode_stream(ring.begin(record_bytes(kStreamPayloadBytes)), Op::kPut, 8, 100'000);
  ring.publish(record_bytes(kStreamPayloadBytes));
  encode_piece(ring.begin(record_bytes(512)), false, bytes_of(std::string(512, 'x')), {}, 0, 512);
  ring.publish(record_bytes(512));
  for (std::uint64_t i = 0; i < 1000; ++i)
    ASSERT_EQ(call(*other.writes, Op::kPut, text_of(i), text_of(i)), StatusCode::kOk);
  EXPECT_EQ(get(table_.reader(), std::string(8, 'x')).outcome, ReadOutcome::kMiss);
  const std::uint64_t held = table_.entry_bytes();
  EXPECT_GE(held, 100'000u);
  ServerEnd& end = *stalled.connection->server;
  end.holders = 1;
  worker_->drop_channels(end);
  while (end.holders != 0) std::this_thread::yield();
  EXPECT_LT(table_.entry_bytes(), 100'000u);
  EXPECT_FALSE(end.poisoned);
}

TEST_P(WorkerTest, AMessageSentJustBeforeTheCloseIsNotLost) {
  for (std::uint32_t round = 0; round < 50; ++round) {
    TestClient client = connect(0);
    const std::string key = text_of(1000 + round);
    ASSERT_EQ(queue(*client.writes, key, text_of(round)), StatusCode::kOk);
    client.end->close();
    ServerEnd& end = *client.connection->server;
    ASSERT_TRUE(end.client_closed());
    end.holders = 1;
    worker_->drop_channels(end);
    while (end.holders != 0) std::this_thread::yield();
    ASSERT_EQ(get(table_.reader(), key).value, text_of(round)) << "round " << round;
  }
}

TEST_P(WorkerTest, ManyClientsAtOnceEachSeeTheirOwnWrites) {
#if HOSTMAP_TSAN
  constexpr int kCalls = 500;
#else
  constexpr int kCalls = 5'000;
#endif
  std::vector<TestClient> clients;
  for (std::uint32_t i = 0; i < 4; ++i) clients.push_back(connect(i));
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::uint32_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937_64 random(i);
      std::unordered_map<std::string, std::string> model;
      const TableReader reader = table_.reader();
      for (int n = 0; n < kCalls; ++n) {
        const std::string key = random() % 2 == 0 ? text_of(i * 1000 + random() % 50)
                                                  : std::to_string(i) + " " + std::to_string(random() % 50);
        if (random() % 3 == 0) {
          const auto expected = model.find(key);
          const Found found = get(reader, key);
          if (found.outcome == ReadOutcome::kContended) continue;
          if ((found.outcome == ReadOutcome::kHit) != (expected != model.end()) ||
              (expected != model.end() && found.value != expected->second)) {
            ++wrong;
          }
        } else if (random() % 4 == 0) {
          const StatusCode code = call(*clients[i].writes, Op::kErase, key, {});
          if (code != (model.erase(key) != 0 ? StatusCode::kOk : StatusCode::kNotFound)) ++wrong;
        } else {
          const std::string value = random() % 2 == 0 ? text_of(random()) : std::string(random() % 2000, 'v');
          if (call(*clients[i].writes, Op::kPut, key, value) != StatusCode::kOk) ++wrong;
          model[key] = value;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(WorkerTest, MalformedRequestClosesOnlyItsConnection) {
  TestClient other = connect(1);
  std::uint32_t index = 2;
  const std::vector<std::pair<const char*, std::uint64_t>> hostile{
      {"an unknown op", 0x7f},
      {"reserved flags", encode(RequestHead{Op::kPut, 0x80, 8, 8})},
      {"longer than a record may be", encode(RequestHead{Op::kPut, 0, 8, kRingBytes})},
      {"a length that overflows", encode(RequestHead{Op::kPut, 0, 65536, 0xffff'ffff})},
      {"a piece without a stream", encode(RequestHead{Op::kPiece, 0, 0, 16})},
      {"an empty piece", encode(RequestHead{Op::kPiece, 0, 0, 0})},
      {"an erase with a value", encode(RequestHead{Op::kErase, 0, 8, 8})},
      {"a stream that would fit a record", encode(RequestHead{Op::kStream, 0, 8, 8})},
  };
  for (const auto& [what, word] : hostile) {
    TestClient offender = connect(index);
    auto& header = *reinterpret_cast<ConnectionHeader*>(offender.connection->memory.data());
    RingProducer ring(RingView(offender.connection->memory.data() + request_ring_offset(0, 1, kRingBytes), kRingBytes,
                               header.request_nonce),
                      0);
    std::byte* record = ring.begin(1024);
    std::memset(record + 8, 1, 1016);
    std::memcpy(record + 8, &word, sizeof word);
    ring.publish(1024);
    fence_after_publishing(false);
    ring_if_parked(table_.header().workers[0], bell_);
    ServerEnd& end = *offender.connection->server;
    // ctest's timeout ends this if the answer never comes.
    while (!offender.end->closed()) std::this_thread::yield();
    EXPECT_TRUE(end.poisoned) << what;
    end.holders = 1;
    worker_->drop_channels(end);
    while (end.holders != 0) std::this_thread::yield();
    EXPECT_EQ(call(*other.writes, Op::kPut, text_of(1), text_of(index)), StatusCode::kOk) << what;
    index = 2;
  }
  EXPECT_EQ(table_.header().lane_stats[0].poisoned.load(), hostile.size());
}

std::string mode_name(const testing::TestParamInfo<bool>& info) { return info.param ? "Membarrier" : "Fences"; }
INSTANTIATE_TEST_SUITE_P(Modes, WorkerTest, testing::Bool(), mode_name);

}  // namespace
}  // namespace hostmap::test
