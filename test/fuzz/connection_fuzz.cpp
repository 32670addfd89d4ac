// Any byte of a connection region can have any value at any moment, at both ends: the server serves or drops it, and serves
// all other clients; a client that attaches to it is refused or gets errors.
//
// An input is a list of stores into the region, records with correct tags, and moments at which either end works.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <unistd.h>

#include "fuzz/acts.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "server/worker_by_hand.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kSmallRing = 4096;
constexpr std::uint32_t kIndex = 2;  // in the journal

class World : public WorkerByHand {
 public:
  World() : bystander_(connect()) {}
  void TestBody() override {}
  using WorkerByHand::drop;

  void work() {
    for (int i = 0; i < 64 && worker_.sweep(); ++i) {
    }
  }
  ChannelPosition& where() { return table_.journal().position(kIndex, 0); }
  void serve(ServerEnd& end) {
    worker_.add_channel(std::make_unique<ServerChannel>(end, 0, where()));
    worker_.take_orders();
  }
  WorkerView view() { return {table_.header().lane_worker, table_.header().workers, &bell_, &hints_}; }
  // A client with another connection.
  void require_service() {
    Deadline deadline(std::chrono::seconds(10));
    require(bystander_.channel->await_room(9, deadline).ok());
    require(bystander_.channel->send_any(Op::kPut, true, bystander_.key(), bytes_of("a value"), deadline).ok());
    work();
    require(bystander_.channel->await_answer(deadline).ok());
    require(bystander_.channel->answer().code == StatusCode::kOk);
    bystander_.channel->release();
  }

 private:
  TestChannel& bystander_;
};

class Connection {
 public:
  explicit Connection(World& world, bool canary)
      : world_(world),
        canary_(canary),
        path_("/dev/shm/hm-test-" + std::to_string(::getpid()) + "-fuzzed-connection-1") {
    identity_.id = 1;
    identity_.serial = 77;
    identity_.ring_bytes = kSmallRing;
    identity_.index = kIndex;
    ::unlink(path_.c_str());
    auto made = ServerEnd::create(path_, identity_, 1);
    if (!made) throw std::runtime_error(std::string(made.status().message()));
    server_ = std::move(*made);
    ChannelMemos::clear(world_.where());
    world_.serve(*server_);
    server_->open_channel(0);
    producer_ = RingProducer(server_->request_ring(0), 0);
  }
  ~Connection() {
    client_.reset();
    world_.drop(*server_);
    // A restart finds the rest of it.
    if (auto adopted = ServerEnd::attach(path_, identity_, 1); adopted) {
      world_.serve(**adopted);
      world_.work();
      world_.drop(**adopted);
    }
    ::unlink(path_.c_str());
  }

  void act(const Act& act) {
    std::byte* memory = server_->region().data();
    const std::uint64_t bytes = server_->region().bytes();
    switch (act.kind % 6) {
      case 0:
        reinterpret_cast<Word*>(memory)[act.where % (bytes / 8)].store(act.value);
        break;
      case 1:
        memory[act.where % bytes] = static_cast<std::byte>(act.value);
        break;
      case 2: {  // a record: any header, the payload that is there, and the correct tag
        const std::uint64_t size = record_bytes(act.where % 600);
        std::byte* record = producer_.begin(size);
        std::memcpy(record + 8, &act.value, sizeof act.value);
        producer_.publish(size);
        break;
      }
      case 3:
        if (canary_) trust_its_constants();
        world_.work();
        break;
      case 4:
        attach();
        break;
      default:
        call(act.value);
    }
  }

 private:
  // A server that trusts memory that a client can write, which this test must find when it is tested itself.
  void trust_its_constants() {
    const auto* header = server_->region().at<ConnectionHeader>(0);
    if (header->ring_bytes == kSmallRing) return;
    static volatile std::byte last;
    last = server_->region().data()[request_ring_offset(0, 1, header->ring_bytes) + 2 * header->ring_bytes];
  }
  void attach() {
    client_.reset();
    auto attached = ClientEnd::attach(path_, 1, 1, false);
    if (attached) client_ = std::move(*attached);
  }
  void call(std::uint64_t what) {
    if (client_ == nullptr) return;
    Deadline none(std::chrono::nanoseconds(0));
    const auto channel = client_->channel(0, world_.view(), nullptr, none);
    if (!channel) return;
    const std::string key = "key";
    const std::string value(what % 900, 'v');
    const Op op = what % 2 == 0 ? Op::kPut : Op::kGet;
    const auto payload = op == Op::kPut ? bytes_of(value) : std::span<const std::byte>();
    if (!(*channel)->send_any(op, true, bytes_of(key), payload, none).ok()) return;
    world_.work();
    if ((*channel)->await_answer(none).ok()) (*channel)->release();
  }

  World& world_;
  bool canary_;
  std::string path_;
  ServerEnd::Identity identity_;
  std::unique_ptr<ServerEnd> server_;
  std::unique_ptr<ClientEnd> client_;
  RingProducer producer_;
};

}  // namespace
}  // namespace hostmap::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hostmap::test;
  static World world;
  static const bool canary = std::getenv("HOSTMAP_FUZZ_CANARY") != nullptr;
  {
    Connection connection(world, canary);
    for_each_act(data, size, [&connection](const Act& act) { connection.act(act); });
  }
  world.require_service();
  return 0;
}
