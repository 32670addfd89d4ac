// Question `instructions`: how many instructions are a get and a put?
//
// Time is noisy, instructions are not: the same program, run by valgrind's callgrind with two numbers of operations, gives
// the instructions of one as the difference. Everything happens in one thread, so that nobody spins: a put is the client's
// half and the worker's, driven by hand on memory of its own; a get is the reader's half.

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <regex>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

#include "connection/client_end.hpp"
#include "harness/floors.hpp"
#include "harness/harness.hpp"
#include "harness/instance.hpp"
#include "harness/process.hpp"
#include "harness/question.hpp"
#include "harness/workload.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "server/run/worker.hpp"
#include "table/read/fast_path.hpp"
#include "table/read/reader.hpp"
#include "table/write/table.hpp"
#include "wait/deadline.hpp"

namespace hostmap::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kEntries = 1'000;
constexpr std::uint64_t kFew = 20'000;
constexpr std::uint64_t kMany = 60'000;

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(std::string(result.status().message()));
  return std::move(*result);
}

/// A table, a worker without its thread, and a client's end of one connection, all in this process.
class OneThread {
 public:
  OneThread() : name_("/dev/shm/" + unique_name()) {
    constexpr std::uint64_t kMemory = std::uint64_t{64} << 20U;
    const TablePlan plan = plan_table(kMemory, 1);
    journal_region_ =
        must(Region::create(name_ + "-journal", journal_bytes(1, 1, plan.arena_bytes / kSlabBytes), 0600));
    if (!journal_region_.populate(0, journal_region_.bytes()).ok()) throw std::runtime_error("no memory for a journal");
    auto& header = *journal_region_.at<JournalHeader>(0);
    header.max_connections = 1;
    header.lane_count = 1;
    table_ = must(
        hostmap::Table::create(name_ + "-table", {.memory_limit = kMemory, .hash_seed = 42}, Journal(journal_region_)));
    table_->region().publish();
    connection_.resize(connection_bytes(1, kRingBytes) + kPageSize);
    auto* memory = reinterpret_cast<std::byte*>(
        round_up(reinterpret_cast<std::uintptr_t>(connection_.data()), std::uintptr_t{kPageSize}));
    ServerEnd::Identity identity;
    identity.serial = 1;
    identity.request_nonce = 0x1234'5678'9abc'def1;
    identity.answer_nonce = 0xfedc'ba98'7654'3211;
    identity.ring_bytes = kRingBytes;
    server_ = ServerEnd::over(memory, identity);
    worker_ = std::make_unique<Worker>(
        Worker::Surroundings{table_.get(), &streams_, Journal(journal_region_),
                             PieceStore(journal_region_.fd(), *journal_region_.at<JournalHeader>(0)),
                             &table_->header().workers[0], std::span(&bell_, 1), &hints_, true, &service_bell_.rings, 1,
                             kRingBytes},
        0, std::vector<std::uint32_t>{0});
    worker_->add_channel(std::make_unique<ServerChannel>(*server_, 0, Journal(journal_region_).position(0, 0)));
    worker_->take_orders();
    client_ = ClientEnd::over(memory, true);
    Deadline deadline(1s);
    channel_ = must(client_->channel(0, {&table_->header().lane_worker[0], table_->header().workers, &bell_, &hints_},
                                     nullptr, deadline));
    for (std::uint64_t index = 0; index < kEntries; ++index) put(index, value_of(index));
    serve();
  }
  ~OneThread() {
    client_.reset();
    worker_.reset();
    table_.reset();
    ::unlink((name_ + "-table").c_str());
    ::unlink((name_ + "-journal").c_str());
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

  /// Queues a put; serves when as many are queued as a worker takes at once. In line, as is put_and_wait(): the figures must not
  /// depend on what else is in the program.
  [[gnu::always_inline]] void put(std::uint64_t index, std::uint64_t value) {
    const std::uint64_t key = key_of(index);
    Deadline deadline(1s);
    if (!channel_->await_room(16, deadline).ok()) throw std::runtime_error("no room in a ring that is served");
    channel_->send(Op::kPut, false, bytes_of(key), bytes_of(value));
    if (++queued_ % Worker::kBatch == 0) serve();
  }
  /// A put that is waited for: one sweep for it alone.
  [[gnu::always_inline]] void put_and_wait(std::uint64_t index, std::uint64_t value) {
    const std::uint64_t key = key_of(index);
    Deadline deadline(1s);
    if (!channel_->send_any(Op::kPut, true, bytes_of(key), bytes_of(value), deadline).ok() || !worker_->sweep() ||
        !channel_->await_answer(deadline).ok()) {
      throw std::runtime_error("a put was not answered");
    }
    channel_->release();
  }
  void serve() {
    while (worker_->sweep()) {
    }
  }
  [[nodiscard]] TableReader reader() const { return {table_->region().data(), table_->region().bytes()}; }

 private:
  static constexpr std::uint64_t kRingBytes = 65536;
  std::string name_;
  Region journal_region_;
  std::unique_ptr<hostmap::Table> table_;
  std::vector<std::byte> connection_;
  Bell bell_{};
  IdleHints hints_{};
  Bell service_bell_{};
  std::unique_ptr<ServerEnd> server_;
  StreamQuota streams_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<ClientEnd> client_;
  ClientChannel* channel_ = nullptr;
  std::uint64_t queued_ = 0;
};

std::uint64_t instructions_of(const std::string& what, std::uint64_t count) {
  const std::filesystem::path report = std::filesystem::temp_directory_path() / (unique_name() + ".callgrind");
  Child valgrind({.program = "/usr/bin/valgrind",
                  .arguments = {"--tool=callgrind", "--callgrind-out-file=" + report.string(), own_program().string(),
                                "--role", "count", what, std::to_string(count)},
                  .without_errors = true});
  valgrind.wait(300s);
  const std::string text = output_of({.program = "/usr/bin/grep", .arguments = {"^totals:", report.string()}}, 10s);
  std::filesystem::remove(report);
  return std::strtoull(text.c_str() + std::strlen("totals:"), nullptr, 10);
}

}  // namespace

static int play_count(std::span<char* const> arguments) {
  const std::string_view what = arguments[0];
  const std::uint64_t count = std::strtoull(arguments[1], nullptr, 10);
  OneThread all;
  Random random(3);
  if (what == "put") {
    for (std::uint64_t i = 0; i < count; ++i) all.put(random.below(kEntries), i);
    all.serve();
    return 0;
  }
  if (what == "put-sync") {
    for (std::uint64_t i = 0; i < count; ++i) all.put_and_wait(random.below(kEntries), i);
    return 0;
  }
  const TableReader reader = all.reader();
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t key = key_of(random.below(kEntries));
    std::uint64_t value = 0;
    const ValueTarget target = ValueTarget::buffer(std::as_writable_bytes(std::span(&value, 1)));
    std::uint64_t size = 0;
    const TableReader::FastResult seen = reader.try_get(bytes_of(key), reader.hash_of(bytes_of(key)), target, size);
    if (seen != TableReader::FastResult::kHit && reader.get(bytes_of(key), target).outcome != ReadOutcome::kHit) {
      throw std::runtime_error("a key is missing");
    }
    sum += value;
  }
  keep(sum);
  return 0;
}

static void ask_instructions(Session& session) {
  if (!std::filesystem::exists("/usr/bin/valgrind")) {
    session.progress.step("instructions · skipped, needs the package valgrind");
    return;
  }
  session.progress.step("instructions");
  Table table(fmt::format("instructions · {} entries of 8 + 8 bytes, callgrind, one thread", format_count(kEntries)),
              {"", "instructions"});
  for (const auto& [what, title] :
       {std::pair{"get", "a get: reader"}, std::pair{"put", "a put of a batch: client and worker"},
        std::pair{"put-sync", "a put that is waited for: both ends of the connection, one sweep"}}) {
    session.progress.detail(what);
    const double each =
        static_cast<double>(instructions_of(what, kMany) - instructions_of(what, kFew)) / (kMany - kFew);
    table.row({{title}, {format_figure(each)}});
    session.report.add({.name = fmt::format("instructions/{}", what), .unit = "instructions", .hostmap = each});
  }
  session.progress.clear();
  table.note("with the key made in the loop; valgrind knows no AVX-512, so AVX2 is what runs");
  table.print();
}

namespace {

const Registered instructions_question(Question{240, "instructions", "how many instructions a get and a put are",
                                                ask_instructions});
const Registered count_role(Role{"count", 2, play_count});

}  // namespace

}  // namespace hostmap::bench
