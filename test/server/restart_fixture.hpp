// The regions of an instance without a server, so that a test can read them between any two instructions of a worker, copy
// them as a kill would leave them, and continue with the copy.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "../table/table_fixture.hpp"
#include "base/same_bytes.hpp"
#include "base/token.hpp"
#include "connection/client_end.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "server/part_of_a_put.hpp"
#include "server/run/worker.hpp"
#include "server/start/restart.hpp"
#include "support/instance.hpp"
#include "table/read/check.hpp"
#include "table/read/scan.hpp"

namespace hostmap::test {

// One request of a client, and its expected answer.
struct Call {
  Op op = Op::kPut;
  std::string key = {};
  std::string value = {};
  // Of compare_exchange, put_if and erase_if: the value that the key is to have. Of add: the new value.
  std::string expected = {};
  std::uint64_t expected_end = kNoEnd;  // of put_if and erase_if: the end that the key is to have
  bool answered = true;
  StatusCode code = StatusCode::kOk;
  bool quiet = false;          // it is answered only if it is refused
  bool withdrawn = false;      // longer than the ring, and its client has no time to wait for room
  std::uint64_t end = kNoEnd;  // of put and insert: when the key ends; expire has it as its value

  bool has_answer() const { return quiet ? code != StatusCode::kOk : answered; }
};

using Content = std::map<std::string, std::string>;

// The content of an instance's files, in place.
struct View {
  struct Part {
    int file;  // 0 journal, 1 table, 2 master, 3 connection
    std::uint64_t offset;
    std::span<const std::byte> bytes;
  };
  std::uint64_t sizes[4] = {};
  std::array<Part, 11> parts = {};
};

// The size of a missing file.
inline constexpr std::uint64_t kAbsent = ~std::uint64_t{0};

// A copy of the files at one moment.
struct Image {
  struct Part {
    int file;
    std::uint64_t offset;
    std::vector<std::byte> bytes;
  };
  std::uint64_t sizes[4] = {};
  std::vector<Part> parts;

  explicit Image(const View& view) {
    std::copy(std::begin(view.sizes), std::end(view.sizes), sizes);
    for (const View::Part& part : view.parts) {
      parts.push_back({part.file, part.offset, {part.bytes.begin(), part.bytes.end()}});
    }
  }
  // Parts of a view, in the order of their addresses.
  using Spans = std::vector<std::span<const std::byte>>;
  // `except`: whatever these contain.
  bool shows(const View& view, const Spans& except = {}) const {
    return std::equal(parts.begin(), parts.end(), view.parts.begin(), view.parts.end(),
                      [&except](const Part& part, const View::Part& seen) {
                        return part.offset == seen.offset && part.bytes.size() == seen.bytes.size() &&
                               same(part.bytes, seen.bytes, except);
                      });
  }
  // Adds the present content to a sequence if it differs from the last image: most instructions change nothing.
  static void add(std::vector<Image>& images, const View& now, const Spans& except = {}) {
    if (images.empty() || !images.back().shows(now, except)) images.emplace_back(now);
  }

 private:
  static bool same(std::span<const std::byte> bytes, std::span<const std::byte> seen, const Spans& except) {
    std::size_t at = 0;
    for (const std::span<const std::byte> span : except) {
      if (span.data() < seen.data() || span.data() >= seen.data() + seen.size()) continue;
      const auto begin = static_cast<std::size_t>(span.data() - seen.data());
      if (!same_bytes(bytes.subspan(at, begin - at), seen.subspan(at, begin - at))) return false;
      at = begin + span.size();
    }
    return same_bytes(bytes.subspan(at), seen.subspan(at));
  }
};

// The number of images with a violation: `violation(image)` returns the error, or "". Each one is a failure of the test.
template <typename Violation>
std::size_t count_violations(const std::vector<Image>& images, const std::string& whose, Violation&& violation) {
  std::size_t violations = 0;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::string what = violation(images[i]);
    EXPECT_EQ(what, "") << whose << " image " << i;
    violations += what.empty() ? 0 : 1;
  }
  return violations;
}

// The next server refuses the regions that it finds.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Regions {
 public:
  static constexpr std::uint64_t kRing = 4096;
  static constexpr std::uint64_t kId = 1;
  static constexpr std::uint32_t kMaxConnections = 2;
  static constexpr std::uint64_t kIncarnation = 0x1234;
  static constexpr std::uint64_t kAnswerNonce = 0xfedc'ba98'7654'3211;

  // `connected`: there is one connection, and the worker serves it.
  explicit Regions(std::uint64_t buckets = 2, bool connected = true, std::uint32_t max_connections = kMaxConnections)
      : name_(*InstanceName::parse(unique_name(), "")) {
    constexpr std::uint64_t kMemory = std::uint64_t{1} << 20;
    const TablePlan plan = plan_table(kMemory, 1);
    journal_ =
        must(Region::create(name_.journal(), journal_bytes(max_connections, 1, plan.arena_bytes / kSlabBytes), 0600));
    populate(journal_, journal_.bytes());
    journal_.write_header(RegionKind::kJournal, kIncarnation);
    auto& header = *journal_.at<JournalHeader>(0);
    header.max_connections = max_connections;
    header.lane_count = 1;
    header.slab_count = plan.arena_bytes / kSlabBytes;
    header.ring_bytes = kRing;
    header.checksum = checksum_of(header);
    journal_.publish();

    TableOptions options;
    options.buckets = buckets;
    options.memory_limit = kMemory;
    options.hash_seed = 0x5eed;
    options.incarnation = kIncarnation;
    table_ = must(Table::create(name_.table(), options, Journal(journal_)));
    table_->region().publish();

    master_ = must(Region::create(name_.master(), master_bytes(mailboxes_for(max_connections)), 0600));
    populate(master_, master_.bytes());
    master_.write_header(RegionKind::kMaster, kIncarnation);
    master_.at<MasterHeader>(0)->mailbox_count = mailboxes_for(max_connections);
    master_.publish();
    make_worker();
    if (connected) connect();
  }

  // Writes an image under another name; nothing is mapped yet.
  static InstanceName lay_out(const Image& image) {
    InstanceName name = *InstanceName::parse(unique_name(), "");
    for (int file = 0; file < 4; ++file) {
      if (image.sizes[file] == kAbsent) continue;
      if (image.sizes[file] == 0) {
        const UniqueFd empty(::open(path_of(name, file).c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
        continue;
      }
      Region region = must(Region::create(path_of(name, file), image.sizes[file], 0600));
      for (const Image::Part& part : image.parts) {
        if (part.file != file || part.bytes.empty()) continue;
        // Written, because copying it into a mapping would cause a fault for each page.
        const auto bytes = static_cast<ssize_t>(part.bytes.size());
        if (::pwrite(region.fd(), part.bytes.data(), part.bytes.size(), static_cast<off_t>(part.offset)) != bytes) {
          throw std::runtime_error("no memory");
        }
      }
    }
    name_copied_connection(name);
    return name;
  }
  // The journal identifies the connection's file by its inode, and a copy has another one.
  static void name_copied_connection(const InstanceName& name) {
    struct stat facts {};
    if (::stat(name.connection(kId).c_str(), &facts) != 0) return;
    const UniqueFd journal(::open(name.journal().c_str(), O_RDWR | O_CLOEXEC));
    for (std::uint32_t index = 0; index < kMaxConnections; ++index) {
      std::uint64_t record[sizeof(ConnectionRecord) / sizeof(std::uint64_t)];
      constexpr auto kBytes = static_cast<ssize_t>(sizeof record);
      const auto at = static_cast<off_t>(kConnectionRecordsOffset + index * sizeof record);
      if (::pread(journal.get(), record, sizeof record, at) != kBytes) continue;
      std::uint64_t& inode = record[offsetof(ConnectionRecord, inode) / sizeof(std::uint64_t)];
      if (record[offsetof(ConnectionRecord, id) / sizeof(std::uint64_t)] != kId || inode == 0) continue;
      inode = facts.st_ino;
      if (::pwrite(journal.get(), record, sizeof record, at) != kBytes) throw std::runtime_error("no memory");
    }
  }

  // The next server's part. `serves`: its worker continues the connection; otherwise the caller does.
  explicit Regions(const InstanceName& name, bool serves = true) : name_(name) {
    left_ = attach(name_);
    if (const Status status = settle_left_over_map(name_, left_); !status.ok()) {
      throw Refused(std::string(status.message()));
    }
    journal_ = std::move(left_.journal);
    table_ = std::move(left_.table);
    master_ = std::move(left_.master);
    introduce();
    make_worker();
    if (!serves || left_.connections.empty()) return;
    end_ = std::move(left_.connections[0]);
    serve(*end_);
  }
  static LeftOverMap attach(const InstanceName& name) {
    UniqueFd file(::open(name.journal().c_str(), O_RDWR | O_CLOEXEC));
    std::uint64_t bytes = 0;
    if (const Status status = check_region_header(file.get(), bytes, name.journal(), RegionKind::kJournal);
        !status.ok()) {
      throw Refused(std::string(status.message()));
    }
    Region journal = must(Region::map_proper(std::move(file), name.journal()));
    Result<LeftOverMap> left = attach_left_over_map(name, journal);
    if (!left) throw Refused(std::string(left.status().message()));
    return std::move(*left);
  }

  ~Regions() { remove(name_); }
  static void remove(const InstanceName& name) {
    for (int file = 0; file < 4; ++file) ::unlink(path_of(name, file).c_str());
  }
  Regions(const Regions&) = delete;
  Regions& operator=(const Regions&) = delete;

  const InstanceName& name() const { return name_; }
  Table& table() { return *table_; }
  Region& journal() { return journal_; }
  Region& master() { return master_; }
  std::uint32_t max_connections() const { return journal_.at<JournalHeader>(0)->max_connections; }
  std::vector<std::unique_ptr<Worker>>& workers() { return workers_; }
  std::vector<std::unique_ptr<ServerEnd>>& connections() { return left_.connections; }  // not yet served
  std::uint64_t replayed() const { return left_.replayed; }
  std::uint64_t dropped() const { return left_.dropped; }
  std::uint64_t given_up() const { return left_.given_up; }
  std::uint64_t released() const { return left_.released; }
  bool has_connection() const { return end_ != nullptr; }

  void send(const Call& call) {
    Deadline deadline(call.withdrawn ? std::chrono::seconds(0) : std::chrono::seconds(60));
    const Comparison comparison{call.expected.size()};
    const Token token = token_of(bytes_of(call.expected), call.expected_end);
    const Payload form = facts_of(call.op).payload;
    const ValueParts value =
        form == Payload::kComparison
            ? ValueParts(std::as_bytes(std::span(&comparison, 1)), bytes_of(call.expected), bytes_of(call.value))
        : has_expectation(form) ? ValueParts(std::as_bytes(std::span(&token, 1)), bytes_of(call.value), {})
                                : ValueParts(bytes_of(call.value));
    const Status sent = call.quiet
                            ? channel_->send_in_batch(call.op, true, bytes_of(call.key), value, nullptr, deadline)
                            : channel_->send_any(call.op, call.answered, bytes_of(call.key), value, deadline, call.end);
    if (sent.code() != (call.withdrawn ? StatusCode::kTimeout : StatusCode::kOk)) {
      throw std::runtime_error(call.withdrawn ? "all of the request has room" : "a request cannot be sent");
    }
  }
  // A client that ends in the middle of its first request.
  void send_a_part_and_leave(const Call& call) {
    send_part_of_a_put(end_->region().data(), 0, call.key, call.value);
    client_->close();
    work();
  }
  // A client that has sent a part of a request, which it withdraws later to send another one. Both return what it has sent then.
  std::uint64_t send_a_part(const Call& call) {
    return send_part_of_a_put(end_->region().data(), request_position(), call.key, call.value);
  }
  std::uint64_t withdraw(std::uint64_t sent, const Call& next) {
    return withdraw_put(end_->region().data(), sent, next.key, next.value);
  }
  // The worker's part of that end. The journal's record of the connection, which the service removes, does not change.
  void let_go_of_connection() {
    end_->holders = 1;
    workers_[0]->drop_channels(*end_);
    workers_[0]->take_orders();
    if (end_->holders != 0) throw std::runtime_error("the connection is not drained");
  }
  StatusCode receive() {
    Deadline deadline(std::chrono::seconds(60));
    if (!channel_->await_answer(deadline).ok()) throw std::runtime_error("no answer");
    const StatusCode code = channel_->answer().code;
    channel_->release();
    return code;
  }
  // Returns the number of sweeps that had work.
  std::uint64_t work() {
    std::uint64_t sweeps = 0;
    while (workers_[0]->sweep()) ++sweeps;
    return sweeps;
  }
  // Past the connection, as a record of that size has no room in its ring while no worker runs.
  StatusCode put(const std::string& key, const std::string& value) {
    std::uint32_t number;
    ShardWriter& shard = table_->shard(0);
    const StatusCode code = shard.put(table_->hash(bytes_of(key), number), bytes_of(value));
    if (code == StatusCode::kOk) shard.intent().end();
    return code;
  }
  void call(const Call& call) {
    send(call);
    work();
    if (call.answered && receive() != call.code) throw std::runtime_error("an answer is not the expected one");
  }
  // The position of the next answer.
  std::uint64_t answer_position() { return Journal(journal_).position(0, 0).answer_next.load(); }
  std::uint64_t request_position() { return Journal(journal_).position(0, 0).request_next.load(); }
  std::uint64_t refused() { return ChannelMemos(Journal(journal_).position(0, 0)).refused(); }
  // The answers in the ring, beginning at `position`.
  std::vector<StatusCode> answers_from(std::uint64_t position) { return answers_in(end_->region(), position); }
  static std::vector<StatusCode> answers_in(const Region& connection, std::uint64_t position) {
    std::vector<StatusCode> codes;
    for (const Answer& answer : whole_answers_in(connection, position)) codes.push_back(answer.first);
    return codes;
  }
  // The same with their values.
  using Answer = std::pair<StatusCode, std::string>;
  std::vector<Answer> whole_answers_from(std::uint64_t position) { return whole_answers_in(end_->region(), position); }
  static std::vector<Answer> whole_answers_in(const Region& connection, std::uint64_t position) {
    std::vector<Answer> answers;
    RingConsumer ring({connection.data() + answer_ring_offset(0, 1, kRing), kRing, kAnswerNonce}, position);
    while (ring.poll()) {
      std::uint64_t word;
      std::memcpy(&word, ring.record() + 8, sizeof word);
      const AnswerHead head = decode_answer_head(word);
      answers.emplace_back(
          static_cast<StatusCode>(head.code),
          std::string(reinterpret_cast<const char*>(ring.record()) + kRecordHeadBytes, head.value_bytes));
      ring.advance(record_bytes(head.value_bytes));
    }
    return answers;
  }

  // The worker's words, as a client's end of a connection uses them.
  WorkerView worker_view() { return {table_->header().lane_worker, table_->header().workers, bells(), hints()}; }

  // The values of these keys that a reader finds, with their ends.
  Content content(const std::vector<std::string>& keys) {
    Content found;
    const TableReader reader(table_->region().data(), table_->region().bytes());
    for (const std::string& key : keys) {
      const Found at = get_with_end(reader, key);
      if (at.outcome == ReadOutcome::kHit) found[key] = at.value;
    }
    return found;
  }
  std::vector<std::string> findings() {
    const TableReader reader(table_->region().data(), table_->region().bytes());
    return TableCheck(reader).run().findings;
  }
  // The used memory, as the running server counts it.
  std::vector<std::uint64_t> usage() {
    const LaneStats& lane = table_->header().lane_stats[0];
    return {lane.pair_keys.load(), lane.entry_keys.load(), lane.entry_bytes.load(), lane.overflow_bytes.load(),
            lane.expiring.load()};
  }

  View view() {
    const Region none;
    return view_of(journal_, table_->region(), master_, end_ ? end_->region() : none);
  }
  static View view_of(const Region& journal, const Region& table, const Region& master, const Region& connection) {
    const TableHeader& header = *table.at<TableHeader>(0);
    const ShardHeader& shard = header.shards[0];
    const auto part = [](int file, const Region& region, std::uint64_t offset, std::uint64_t bytes) {
      return View::Part{file, offset, std::span<const std::byte>(region.data(), region.bytes()).subspan(offset, bytes)};
    };
    // The pieces of a request in the journal's file: read, because this part is not mapped.
    static std::array<std::byte, kPageSize> held;
    const ssize_t pieces =
        ::pread(journal.fd(), held.data(), held.size(), static_cast<off_t>(place_of_pieces(journal)));
    // The summary of a takeover: likewise.
    static std::array<std::byte, kPageSize> summary;
    const ssize_t summary_bytes =
        ::pread(journal.fd(), summary.data(), summary.size(), static_cast<off_t>(journal.header().bytes));
    return {
        {journal.bytes(), table.bytes(), master.bytes(), connection.bytes()},
        {part(0, journal, 0, journal.bytes()), part(1, table, 0, round_up(sizeof(TableHeader), kPageSize)),
         part(1, table, shard.pair_directory, shard.pair_directory_populated.load()),
         part(1, table, shard.entry_directory, shard.entry_directory_populated.load()),
         part(1, table, header.generations_offset, header.generations_allocated.load()),
         part(1, table, header.arena_offset, header.arena_allocated.load()), part(2, master, 0, sizeof(RegionHeader)),
         part(3, connection, 0, std::min(connection.bytes(), request_ring_offset(1, 1, kRing))),
         part(1, table, kWaitGroupsOffset, sizeof(WaitGroupWords)),
         View::Part{0, journal.header().bytes,
                    std::span(summary).first(summary_bytes > 0 ? static_cast<std::size_t>(summary_bytes) : 0)},
         View::Part{0, place_of_pieces(journal),
                    std::span(held).first(pieces > 0 ? static_cast<std::size_t>(pieces) : 0)}}};
  }
  // The first channel of the only connection.
  static std::uint64_t place_of_pieces(const Region& journal) {
    return PieceStore::first_place(*journal.at<JournalHeader>(0));
  }
  static Region table_of(const InstanceName& name) {
    return must(Region::attach(name.table(), RegionKind::kTable, Access::kReadOnly));
  }
  static Region connection_of(const InstanceName& name) {
    return must(Region::attach(name.connection(kId), RegionKind::kConnection, Access::kReadWrite));
  }

 private:
  template <typename T>
  static T must(Result<T> result) {
    if (!result) throw std::runtime_error(std::string(result.status().message()));
    return std::move(*result);
  }
  static void populate(Region& region, std::uint64_t bytes) {
    if (!region.populate(0, round_up(bytes, std::uint64_t{kPageSize})).ok()) throw std::runtime_error("no memory");
  }
  static std::string path_of(const InstanceName& name, int file) {
    return file == 0 ? name.journal() : file == 1 ? name.table() : file == 2 ? name.master() : name.connection(kId);
  }
  // As each server does before its workers run.
  void introduce() {
    table_->header().server_generation.fetch_add(1);
    table_->wake_waiters();
  }
  Bell* bells() { return master_.at<MasterHeader>(0)->worker_bells; }
  IdleHints* hints() { return master_.at<IdleHints>(kIdleHintsOffset); }
  void make_worker() {
    workers_.push_back(
        std::make_unique<Worker>(Worker::Surroundings{table_.get(), &streams_, Journal(journal_),
                                                      PieceStore(journal_.fd(), *journal_.at<JournalHeader>(0)),
                                                      &table_->header().workers[0], std::span(bells(), 1), hints(),
                                                      false, &master_.at<MasterHeader>(0)->server_bell.rings, 1, kRing},
                                 0, std::vector<std::uint32_t>{0}));
  }
  void serve(ServerEnd& end) {
    workers_[0]->add_channel(std::make_unique<ServerChannel>(end, 0, Journal(journal_).position(0, 0)));
    workers_[0]->take_orders();
  }
  void connect() {
    ServerEnd::Identity identity;
    identity.id = kId;
    identity.serial = 1;
    identity.request_nonce = 0x1234'5678'9abc'def1;
    identity.answer_nonce = kAnswerNonce;
    identity.ring_bytes = kRing;
    end_ = must(ServerEnd::create(name_.connection(kId), identity, kIncarnation));
    end_->open_channel(0);
    Journal journal(journal_);
    ConnectionRecord& record = journal.connection(0);
    record.id.store(kId);
    record.request_nonce.store(identity.request_nonce);
    record.answer_nonce.store(identity.answer_nonce);
    record.channels_open.store(1);
    for (std::uint32_t channel = 0; channel < 2; ++channel) ChannelMemos::clear(journal.position(0, channel));
    record.serial.store(1);
    serve(*end_);
    client_ = ClientEnd::over(end_->region().data(), false);
    Deadline deadline(std::chrono::seconds(60));
    channel_ = must(client_->channel(0, worker_view(), nullptr, deadline));
  }

  InstanceName name_;
  LeftOverMap left_;
  Region journal_;
  Region master_;
  std::unique_ptr<Table> table_;
  std::unique_ptr<ServerEnd> end_;
  StreamQuota streams_;
  std::vector<std::unique_ptr<Worker>> workers_;  // one
  std::unique_ptr<ClientEnd> client_;
  ClientChannel* channel_ = nullptr;
};

}  // namespace hostmap::test
