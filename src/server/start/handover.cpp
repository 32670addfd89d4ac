#include "server/start/handover.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/platform.hpp"
#include "base/time_namespace.hpp"
#include "journal/journal.hpp"
#include "journal/piece_store.hpp"
#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/table.hpp"
#include "server/start/rehearsal.hpp"
#include "shm/obstacle.hpp"
#include "shm/owner_lock.hpp"
#include "signal/termination.hpp"

namespace hostmap {

namespace {

constexpr std::chrono::microseconds kLockInterval{100};
constexpr std::chrono::milliseconds kPollInterval{1};
constexpr int kTries = 50;  // of the lock that excludes other takeovers
constexpr std::int64_t kLongNs = 5'000'000'000;
// What a server allocates besides its regions: its own view of each slab, and the hand-over summary.
constexpr std::uint64_t kOwnMemory = std::uint64_t{16} << 20;
constexpr std::uint64_t kTablePerOwnMemory = 32;
constexpr std::uint32_t kOtherThreads = 4;  // service, reaper, growth, log

// The required value of HandoverHead::checksum.
std::uint64_t checksum_of(const HandoverHead& head, const std::byte* bytes) noexcept {
  return hash_bytes(bytes, head.bytes, hash_bytes(&head, offsetof(HandoverHead, checksum), 0));
}

// The journal proper ends here; summary and pieces may follow.
std::uint64_t end_of(const Region& journal) noexcept { return journal.header().bytes; }

}  // namespace

void write_summary(const Region& journal, Table& table) noexcept {
  try {
    const std::vector<std::byte> bytes = table.make_summary();
    HandoverHead head{};
    head.magic = kHandoverMagic;
    head.incarnation = journal.header().incarnation;
    // relaxed: this server's own
    head.server_generation = table.header().server_generation.load(std::memory_order_relaxed);
    head.slabs = table.header().arena_populated.load(std::memory_order_relaxed) / kSlabBytes;  // relaxed: likewise
    head.bytes = bytes.size();
    head.checksum = checksum_of(head, bytes.data());
    // The head last: a kill in between leaves no valid head.
    const std::uint64_t end = end_of(journal);
    if (!write_all(journal.fd(), bytes, end + sizeof head) ||
        !write_all(journal.fd(), std::as_bytes(std::span(&head, 1)), end)) {
      remove_summary(journal, true);
    }
  } catch (const std::bad_alloc&) {
    remove_summary(journal, true);
  }
}

std::vector<std::byte> read_summary(const Region& journal, const TableHeader& table) {
  struct stat facts {};
  HandoverHead head{};
  const std::uint64_t end = end_of(journal);
  if (::fstat(journal.fd(), &facts) != 0 || !read_all(journal.fd(), std::as_writable_bytes(std::span(&head, 1)), end))
    return {};
  // relaxed, both: written by a server that has stopped, whose lock has been taken since
  const bool counts = head.magic == kHandoverMagic && head.incarnation == journal.header().incarnation &&
                      head.server_generation == table.server_generation.load(std::memory_order_relaxed) &&
                      head.slabs == table.arena_populated.load(std::memory_order_relaxed) / kSlabBytes &&
                      head.bytes <= static_cast<std::uint64_t>(facts.st_size) - end - sizeof head;
  if (!counts) return {};
  std::vector<std::byte> bytes(head.bytes);
  if (!read_all(journal.fd(), bytes, end + sizeof head) || head.checksum != checksum_of(head, bytes.data())) {
    return {};
  }
  return bytes;
}

void remove_summary(const Region& journal, bool pieces_are_held) noexcept {
  // If this fails, the summary that is left is invalid: the table's generation has increased.
  const std::uint64_t end = end_of(journal);
  if (pieces_are_held) {
    free_pages(journal.fd(), end, PieceStore::first_place(*journal.at<JournalHeader>(0)) - end);
  } else {
    static_cast<void>(::ftruncate(journal.fd(), static_cast<off_t>(end)) == 0);
  }
}

Status check_limit(const CheckedOptions& options, const TableHeader& table) {
  if (!options.set_limit || options.memory <= table.max_memory) return {};
  return {StatusCode::kTooLarge,
          "--memory " + size_text(options.memory) + " with --set-limit is above " + size_text(table.max_memory) +
              ", the --max-memory with which this map was created; give less, or create a new map with a larger "
              "--max-memory (--fresh discards this one)"};
}

Status check_clock(const CheckedOptions& options, const TableHeader& table) {
  if (!differ(table.time_namespace, time_namespace())) return {};
  return {StatusCode::kOtherVersion, "the map '" + options.name.name() +
                                         "' was created in another time namespace, where the clock by which its keys "
                                         "end shows another time; start the "
                                         "server there, or begin an empty map with --fresh"};
}

bool takeover_waits(const Region& journal) noexcept {
  if (::flock(journal.fd(), LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  ::flock(journal.fd(), LOCK_UN);
  return false;
}

void end_takeover(const Region& journal) noexcept { ::flock(journal.fd(), LOCK_UN); }

bool await_next_server(const Region& journal) noexcept {
  while (takeover_waits(journal)) {
    if (take_stop_signal(kPollInterval) != 0) return true;
  }
  struct stat facts {};
  if (::fstat(journal.fd(), &facts) != 0 || facts.st_nlink == 0) return true;  // it has served, and has stopped since
  return lock_holder(journal.fd()).held;
}

namespace {

// One takeover of a server at a time. The server itself briefly takes this lock, too (takeover_waits()).
bool lock_takeover(int journal) noexcept {
  for (int tries = 0; ::flock(journal, LOCK_EX | LOCK_NB) != 0; ++tries) {
    if ((errno != EWOULDBLOCK && errno != EINTR) || tries == kTries) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

// kInvalid, kPermission: the alive file, which new clients check, could not be replaced later.
Status check_replaceable(const std::string& path) {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0) return {};
  if (S_ISDIR(facts.st_mode)) return {StatusCode::kInvalid, path + " is a directory; remove it"};
  if (facts.st_uid != ::geteuid() && ::geteuid() != 0) {
    return taken_by(path, facts.st_uid);
  }
  return {};
}

// Does everything that can fail, while the other server still serves.
Status prepare(const CheckedOptions& options, const RegionFile& journal, Prepared& prepared) {
  const InstanceName& name = options.name;
  if (journal.owner != ::geteuid()) {
    return taken_by(name.journal(), journal.owner);
  }
  std::uint64_t bytes = journal.bytes;
  Status header = check_region_header(journal.fd.get(), bytes, name.journal(), RegionKind::kJournal);
  if (header == StatusCode::kOtherVersion) {
    return {StatusCode::kOtherVersion, std::string(header.message()) +
                                           ". A map of another layout cannot be taken over: stop the server (hostmap "
                                           "stop), which removes its map, and start this one"};
  }
  if (!header.ok()) return header;
  Result<Region> mapped = Region::open(name.table(), RegionKind::kTable, Access::kReadWrite);
  if (!mapped) return mapped.status();
  prepared.table = std::move(*mapped);
  if (Status status = check_replaceable(name.alive()); !status.ok()) return status;
  Result<NewLockedFile> alive = NewLockedFile::create(name.alive(), 0600);
  if (!alive) return alive.status();
  if (Status status = share_file(alive->fd(), name.alive(), Sharing::kRead, name.group()); !status.ok()) return status;
  prepared.alive.emplace(std::move(*alive));

  std::uint32_t lanes = 0;
  std::uint64_t ring_bytes = 0;
  if (!read_all(journal.fd.get(), std::as_writable_bytes(std::span(&lanes, 1)), offsetof(JournalHeader, lane_count)) ||
      !read_all(journal.fd.get(), std::as_writable_bytes(std::span(&ring_bytes, 1)),
                offsetof(JournalHeader, ring_bytes))) {
    return {StatusCode::kInvalid, "cannot read " + name.journal()};
  }
  const auto& table = *prepared.table.at<TableHeader>(0);
  if (Status status = check_clock(options, table); !status.ok()) return status;
  if (Status status = check_limit(options, table); !status.ok()) return status;
  Needs needs;
  // relaxed, both: the other server's figures, as of about now
  needs.connections = table.server_stats.connections.load(std::memory_order_relaxed);
  needs.memory = kOwnMemory + table.arena_populated.load(std::memory_order_relaxed) / kTablePerOwnMemory;
  needs.connection_bytes = connection_bytes(lanes, ring_bytes);
  needs.threads = options.workers + kOtherThreads + std::max(1u, std::thread::hardware_concurrency());
  if (Status status = rehearse(needs); !status.ok()) return status;
  prepared.table.prefault();
  return {};
}

// The running server's name in messages.
std::string describe_server(const InstanceName& name, const LockHolder& holder) {
  return "the server '" + name.name() + "' (pid " + std::to_string(holder.pid) + ")";
}

// Waits until `holder` has unlocked the journal, and locks it.
Status await_lock(const InstanceName& name, int journal, const LockHolder& holder, const TakeoverLog& log) {
  const std::string server = describe_server(name, holder);
  const std::int64_t begin = monotonic_ns();
  for (bool logged = false; try_lock_file(journal) != LockOutcome::kLocked;) {
    if (const LockHolder now = lock_holder(journal); now.held && now.pid != holder.pid) {
      return {StatusCode::kAlreadyExists,
              "another server (pid " + std::to_string(now.pid) + ") has replaced " + server};
    }
    if (const int signal = take_stop_signal(kLockInterval); signal != 0) {
      return {StatusCode::kTimeout,
              "signal " + std::to_string(signal) + " ended the takeover; " + server + " continues to serve"};
    }
    if (!logged && monotonic_ns() - begin > kLongNs) {
      logged = true;
      log("still waiting for " + server + " to hand over; if it is stopped, let it continue");
    }
  }
  struct stat mine {};
  struct stat named {};
  if (::fstat(journal, &mine) != 0 || ::stat(name.journal().c_str(), &named) != 0 || mine.st_ino != named.st_ino) {
    return {StatusCode::kNoServer, server +
                                       " has stopped and removed its map instead of handing it over; start this one "
                                       "again to begin with an empty map"};
  }
  return {};
}

}  // namespace

Result<UniqueFd> take_lock_of_running(const CheckedOptions& options, const TakeoverLog& log, Prepared& prepared) {
  const InstanceName& name = options.name;
  // Open only one descriptor of the journal until the end: closing any other would drop the lock.
  // prepare() checks its owner.
  Result<RegionFile> journal =
      open_region_file(name.journal(), Access::kReadWrite, Trust{kNoGroup, kNoUser, /*everybody=*/true});
  if (!journal) {
    // The ordinary start reports another user's journal.
    if (journal.status() == StatusCode::kNoServer || journal.status() == StatusCode::kPermission) return UniqueFd();
    return journal.status();
  }
  const int fd = journal->fd.get();
  // Before checking whether a server runs: between two servers that hand over, none does.
  if (!lock_takeover(fd)) {
    return Status(StatusCode::kAlreadyExists, "another start with --takeover is taking '" + name.name() +
                                                  "' over now, and only one can; see which server runs: hostmap ls");
  }
  const LockHolder holder = lock_holder(fd);
  if (!holder.held) return UniqueFd();
  if (holder.pid == 0) {
    return Status(StatusCode::kInvalid,
                  "the server '" + name.name() +
                      "' runs in another pid namespace and cannot receive a request from here; start the "
                      "next one in its container, or stop it with --keep");
  }
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, holder.pid, 0)));
  if (Status status = prepare(options, *journal, prepared); !status.ok()) {
    return Status(status.code(),
                  std::string(status.message()) + ". " + describe_server(name, holder) + " continues to serve");
  }
  const LockHolder now = lock_holder(fd);
  if (now.held && now.pid == holder.pid && !send_hand_over_request(process.get()) && errno != ESRCH) {
    const int error = errno;
    return Status(StatusCode::kPermission, "cannot signal " + describe_server(name, holder) +
                                               " to hand over: " + std::strerror(error) + "; run as its user");
  }
  if (Status status = await_lock(name, fd, holder, log); !status.ok()) return status;
  return std::move(journal->fd);
}

}  // namespace hostmap
