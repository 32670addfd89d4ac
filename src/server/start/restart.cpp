#include "server/start/restart.hpp"

#include <bit>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_set>
#include <utility>

#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "message/wire.hpp"
#include "server/run/channel.hpp"
#include "shm/owner_lock.hpp"
#include "slot/client_reservation.hpp"

namespace hostmap {

namespace {

// relaxed: a dead server's stores; its lock has been taken since, and no other thread runs yet. Stores are published by
// the start of the workers' threads.
constexpr auto kRelaxed = std::memory_order_relaxed;

Status damaged(const std::string& what) { return {StatusCode::kInvalid, what}; }

// The master region, if it is still the one recorded in the table, as long and as fully populated as it was: every process
// that may connect can write and truncate it. kFull: there is no room.
Result<Region> open_master(const InstanceName& name, const TableHeader& table, std::uint64_t bytes) {
  Result<RegionFile> file = open_region_file(name.master(), Access::kReadWrite);
  if (!file) return file.status();
  if (file->owner != ::geteuid() || !is_master_of(table, *file)) {
    return damaged(name.master() + " is not the file that the last server created");
  }
  Result<Region> region = Region::from_descriptor(std::move(file->fd), name.master(), bytes);
  if (!region) return region.status();
  if (Status status = region->populate(0, region->bytes()); !status.ok()) return status;
  return region;
}

bool is_ours(const Region& region) noexcept {
  struct stat facts {};
  return ::fstat(region.fd(), &facts) == 0 && facts.st_uid == ::geteuid();
}

Status check_journal(const Region& journal) {
  if (journal.bytes() < sizeof(JournalHeader)) return damaged("the journal is too short");
  const JournalHeader& header = *journal.at<JournalHeader>(0);
  if (header.checksum != checksum_of(header)) return damaged("the journal's header is damaged");
  if (header.max_connections == 0 || header.max_connections > kMaxConnections || header.lane_count == 0 ||
      header.lane_count > kMaxLanes || !is_power_of_two(header.ring_bytes) ||
      journal_bytes(header.max_connections, header.lane_count, header.slab_count) > journal.bytes()) {
    return damaged("the journal's header is not valid");
  }
  return {};
}

// The connection that a lane's record names, and its channel.
struct Requester {
  ServerEnd* end = nullptr;
  std::uint32_t channel = 0;
};

Requester requester_of(const Intent& intent, std::uint32_t lane, const LeftOverMap& left) noexcept {
  const std::uint64_t channel = intent.channel.load(kRelaxed);
  for (const auto& end : left.connections) {
    const ServerEnd::Identity& identity = end->identity();
    if (identity.serial != intent.serial.load(kRelaxed)) continue;
    if (channel >= 2 * identity.lanes || channel % identity.lanes != lane) return {};
    return {end.get(), static_cast<std::uint32_t>(channel)};
  }
  return {};
}

// The size of a record's answer, which follows the padding that may come before it.
std::uint64_t answer_bytes_of(const Intent& intent) noexcept {
  return record_bytes(decode_answer_head(intent.answer[0].load(kRelaxed)).value_bytes);
}

bool is_position(std::uint64_t position) noexcept { return position % kRecordUnit == 0; }

bool is_in_progress(const Intent& intent) noexcept {
  return static_cast<IntentKind>(intent.kind.load(kRelaxed)) != IntentKind::kOpen;
}

// Writes the record's answer after the valid ones, if it has one. If it is there already, it is the same.
void rewrite_answer(const Intent& intent, const Requester& requester, const ChannelPosition& where) noexcept {
  const std::uint64_t position = where.answer_next.load(kRelaxed);
  const std::uint64_t next = intent.answer_next.load(kRelaxed);
  const std::uint64_t size = answer_bytes_of(intent);
  RingProducer answers(requester.end->answer_ring(requester.channel), position);
  if (position == next || !is_position(position) || size > record_bytes(sizeof(std::uint64_t)) ||
      position + answers.needed(size) != next) {
    return;
  }
  std::byte* record = answers.begin(size);
  const std::uint64_t words[] = {intent.answer[0].load(kRelaxed), intent.answer[1].load(kRelaxed)};
  std::memcpy(record + 8, words, size == record_bytes(0) ? sizeof words[0] : sizeof words);
  answers.publish(size);
}

bool was_answered(const Intent& intent, const Requester& requester) noexcept {
  const std::uint64_t position = intent.answer_next.load(kRelaxed) - answer_bytes_of(intent);
  const RingView ring = requester.end->answer_ring(requester.channel);
  return is_position(position) && ring.word(position).load(kRelaxed) == ring.tag(position);
}

// Settles the request of a lane's record, which may have been in progress. True: it had been, and was applied.
bool settle_request(std::uint32_t lane, LeftOverMap& left) {
  const Journal journal(left.journal);
  Intent& intent = journal.intent(lane);
  const ShardWriter::Settled settled = left.table->shard(lane).settle(intent);
  const Requester requester = requester_of(intent, lane, left);
  bool done = settled == ShardWriter::Settled::kApplied;
  if (requester.end != nullptr) {
    ChannelPosition& where = journal.position(requester.end->identity().index, requester.channel);
    if (done) rewrite_answer(intent, requester, where);
    if (settled == ShardWriter::Settled::kAnswerShows) done = was_answered(intent, requester);
    const std::uint64_t request_next = intent.request_next.load(kRelaxed);
    const std::uint64_t answer_next = intent.answer_next.load(kRelaxed);
    if (done && request_next > where.request_next.load(kRelaxed) && is_position(request_next) &&
        is_position(answer_next)) {
      // [position.answer] release; pairs with [position.next]
      where.answer_next.store(answer_next, std::memory_order_release);
      // [position.next] release; pairs with [memo.position]
      where.request_next.store(request_next, std::memory_order_release);
    }
  }
  left.table->shard(lane).complete_resize();
  // [intent.end] release; pairs with [intent.sealed]
  intent.kind.store(static_cast<std::uint64_t>(IntentKind::kOpen), std::memory_order_release);
  return settled == ShardWriter::Settled::kApplied;
}

void give_up(ServerEnd& end, const Journal& journal) {
  end.close();
  end.region().unlink_name();
  // [serial.record] release; pairs with [serial.give]
  journal.connection(end.identity().index).serial.store(0, std::memory_order_release);
}

// False: memory damage has changed the journal's record of the connection.
bool is_record_valid(const ServerEnd& end, const Journal& journal) noexcept {
  if ((end.channels_open() & ~end.all_channels()) != 0) return false;
  for (std::uint32_t channel = 0; channel < 2 * end.identity().lanes; ++channel) {
    const ChannelPosition& where = journal.position(end.identity().index, channel);
    if (!is_position(where.request_next.load(kRelaxed)) || !is_position(where.answer_next.load(kRelaxed))) return false;
  }
  return true;
}

// Attaches the recorded connections. kFull: this process may not have as many descriptors or mappings as the previous one had.
Status attach_connections(const InstanceName& name, LeftOverMap& left) {
  const Journal journal(left.journal);
  // Without their master region, clients have no bell to ring.
  const bool lost = !left.master;
  for (std::uint32_t index = 0; index < journal.max_connections(); ++index) {
    ConnectionRecord& record = journal.connection(index);
    ServerEnd::Identity identity;
    identity.serial = record.serial.load(kRelaxed);
    if (identity.serial == 0) continue;
    identity.id = record.id.load(kRelaxed);
    identity.request_nonce = record.request_nonce.load(kRelaxed);
    identity.answer_nonce = record.answer_nonce.load(kRelaxed);
    identity.ring_bytes = journal.header().ring_bytes;
    identity.lanes = journal.lanes();
    identity.index = index;
    // Its region is created before its record and removed before it, too: it is missing, or it is this client's.
    const std::string path = name.connection(identity.id);
    const std::uint64_t inode = record.inode.load(kRelaxed);
    Result<std::unique_ptr<ServerEnd>> end = Status(StatusCode::kClosed);
    if (!lost) end = ServerEnd::attach(path, identity, record.channels_open.load(kRelaxed));
    if (end.status() == StatusCode::kFull) return end.status();
    if (end && (inode == 0 || (*end)->region().inode() == inode)) {
      if (is_record_valid(**end, journal)) {
        left.connections.push_back(std::move(*end));
      } else {
        give_up(**end, journal);
        ++left.given_up;
      }
      continue;
    }
    if (ServerEnd::give_up(path, inode, identity.lanes)) ++left.given_up;
    record.serial.store(0, std::memory_order_release);  // [serial.record] release; pairs with [serial.give]
  }
  return {};
}

// Entries that requests in pieces are filling, and their owners: numbers of connections. Without an entry, the pieces were in
// the dead server's memory, unless it held them in the journal's file.
std::vector<Table::Stream> streams_of(LeftOverMap& left, std::vector<std::size_t>& owners) {
  const Journal journal(left.journal);
  std::vector<Table::Stream> streams;
  for (std::size_t i = 0; i < left.connections.size(); ++i) {
    ServerEnd& end = *left.connections[i];
    for (std::uint64_t open = end.channels_open(); open != 0; open &= open - 1) {
      const auto channel = static_cast<std::uint32_t>(std::countr_zero(open));
      const ServerChannel taken(end, channel, journal.position(end.identity().index, channel));
      const ServerChannel::Stream& stream = taken.stream;
      if (stream.op == Op::kPadding || stream.refused != StatusCode::kOk) continue;
      if (stream.held && stream.received <= stream.total()) {
        ++left.held;
        continue;
      }
      const std::uint64_t entry = stream.received <= stream.total() ? stream.entry : 0;
      streams.push_back(
          {taken.lane, entry, ShardWriter::new_entry_bytes(stream.key_bytes, stream.value_bytes, stream.end)});
      owners.push_back(i);
    }
  }
  return streams;
}

// Removes regions that no connection uses: the server died while it created or removed them. The record of each
// has its id. The folder is not listed: other users can create any number of files there.
void remove_strays(const InstanceName& name, LeftOverMap& left) {
  const Journal journal(left.journal);
  std::unordered_set<std::uint64_t> used;
  for (const auto& end : left.connections) used.insert(end->identity().id);
  for (std::uint32_t index = 0; index < journal.max_connections(); ++index) {
    const std::uint64_t id = journal.connection(index).id.load(kRelaxed);
    if (id == 0 || used.contains(id)) continue;
    const std::string path = name.connection(id);
    struct stat facts {};
    if (::lstat(path.c_str(), &facts) == 0 && facts.st_uid == ::geteuid()) ::unlink(path.c_str());
  }
}

}  // namespace

Result<LeftOverMap> attach_left_over_map(const InstanceName& name, Region& journal, Prepared prepared) {
  if (Status status = check_journal(journal); !status.ok()) return status;
  const std::uint64_t incarnation = journal.header().incarnation;
  LeftOverMap left;
  Result<Region> region = std::move(prepared.table);
  if (!*region) region = Region::attach(name.table(), RegionKind::kTable, Access::kReadWrite);
  if (!region) return region.status();
  if (region->given_up()) return Status(StatusCode::kNoServer, "the server had stopped");
  if (!is_ours(*region) || region->header().incarnation != incarnation) {
    return damaged("the table is another server's");
  }
  Result<std::unique_ptr<Table>> table = Table::attach(std::move(*region), Journal(journal));
  if (!table) return table.status();
  const std::uint32_t mailboxes = mailboxes_for(journal.at<JournalHeader>(0)->max_connections);
  Result<Region> master = open_master(name, (*table)->header(), master_bytes(mailboxes));
  if (master) {
    left.master = std::move(*master);
    left.master_guard = BusGuard::Watch(left.master, BusGuard::OnDamage::kRestore);
  } else if (master.status() == StatusCode::kFull) {
    return master.status();
  } else {
    left.why_no_master = master.status().message();
  }
  left.table = std::move(*table);
  left.journal = std::move(journal);
  return left;
}

Status settle_left_over_map(const InstanceName& name, LeftOverMap& left) {
  const Journal journal(left.journal);
  if (Status status = attach_connections(name, left); !status.ok()) return status;
  left.table->begin_restart();
  bool idle = true;  // no request was in progress
  for (std::uint32_t lane = 0; lane < journal.lanes(); ++lane) {
    idle = idle && !is_in_progress(journal.intent(lane));
    if (settle_request(lane, left)) ++left.replayed;
  }
  std::vector<std::size_t> owners;
  const std::vector<Table::Stream> streams = streams_of(left, owners);
  std::vector<std::size_t> lost;
  const std::vector<std::byte> summary = read_summary(left.journal, left.table->header());
  if (!idle || summary.empty() || !left.table->rebuild_from_summary(summary, streams, lost)) {
    left.dropped = left.table->rebuild(streams, lost);
  }
  remove_summary(left.journal, left.held != 0);
  left.table->restore_reserve();
  for (const std::size_t stream : lost) {
    std::unique_ptr<ServerEnd>& end = left.connections[owners[stream]];
    if (end == nullptr) continue;
    // If its client left or died in mid-stream, the last server had dropped the stream and was about to remove the connection.
    const bool has_client = !end->client_closed() && lock_holder(end->region().fd()).held;
    give_up(*std::exchange(end, nullptr), journal);
    ++(has_client ? left.given_up : left.released);
  }
  std::erase(left.connections, nullptr);
  remove_strays(name, left);
  const TableHeader& table = left.table->header();
  for (std::uint32_t lane = 0; lane < journal.lanes(); ++lane) {
    left.entries += table.lane_stats[lane].pair_keys.load(kRelaxed) + table.lane_stats[lane].entry_keys.load(kRelaxed);
  }
  return {};
}

}  // namespace hostmap
