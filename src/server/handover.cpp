#include "server/handover.hpp"

#include <cerrno>
#include <cstring>
#include <new>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include "base/hash.hpp"
#include "base/platform.hpp"
#include "journal/journal.hpp"
#include "server/notify.hpp"
#include "shm/owner_lock.hpp"
#include "signal/wish.hpp"

namespace hostmap {

namespace {

constexpr std::chrono::microseconds kBetweenTries{100};
constexpr std::int64_t kLongNs = 5'000'000'000;

// What HandoverHead::checksum must be.
std::uint64_t checksum_of(const HandoverHead& head, const std::byte* bytes) noexcept {
  return hash_bytes(bytes, head.bytes, hash_bytes(&head, offsetof(HandoverHead, checksum), 0));
}

// Calls move(done) until it has moved `size` bytes: it moves some from `done` on, and returns how many, as pread and pwrite do.
template <typename Move>
bool move_all(std::uint64_t size, const Move& move) noexcept {
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t moved = move(done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) return false;
    done += static_cast<std::uint64_t>(moved);
  }
  return true;
}

bool write_all(int fd, const void* from, std::uint64_t size, std::uint64_t at) noexcept {
  return move_all(size, [&](std::uint64_t done) {
    return ::pwrite(fd, static_cast<const std::byte*>(from) + done, size - done, static_cast<off_t>(at + done));
  });
}

bool read_all(int fd, void* to, std::uint64_t size, std::uint64_t at) noexcept {
  return move_all(size, [&](std::uint64_t done) {
    return ::pread(fd, static_cast<std::byte*>(to) + done, size - done, static_cast<off_t>(at + done));
  });
}

// The journal proper ends here, whatever is behind it.
std::uint64_t end_of(const Region& journal) noexcept { return journal.header().bytes; }

}  // namespace

void tell_next(const Region& journal, Table& table) noexcept {
  try {
    const std::vector<std::byte> bytes = table.tell();
    HandoverHead head{};
    head.magic = kHandoverMagic;
    head.incarnation = journal.header().incarnation;
    // relaxed: this server's own
    head.server_generation = table.header().server_generation.load(std::memory_order_relaxed);
    head.slabs = table.header().arena_populated.load(std::memory_order_relaxed) / kSlabBytes;  // relaxed: likewise
    head.bytes = bytes.size();
    head.checksum = checksum_of(head, bytes.data());
    // The head last: a kill in between leaves none that counts.
    const std::uint64_t end = end_of(journal);
    if (!write_all(journal.fd(), bytes.data(), bytes.size(), end + sizeof head) ||
        !write_all(journal.fd(), &head, sizeof head, end)) {
      forget_told(journal);
    }
  } catch (const std::bad_alloc&) {
    forget_told(journal);
  }
}

std::vector<std::byte> told_by_last(const Region& journal, const TableHeader& table) {
  struct stat facts {};
  HandoverHead head{};
  const std::uint64_t end = end_of(journal);
  if (::fstat(journal.fd(), &facts) != 0 || !read_all(journal.fd(), &head, sizeof head, end)) return {};
  // relaxed, both: a server's that has stopped, whose lock has been taken since
  const bool counts = head.magic == kHandoverMagic && head.incarnation == journal.header().incarnation &&
                      head.server_generation == table.server_generation.load(std::memory_order_relaxed) &&
                      head.slabs == table.arena_populated.load(std::memory_order_relaxed) / kSlabBytes &&
                      head.bytes <= static_cast<std::uint64_t>(facts.st_size) - end - sizeof head;
  if (!counts) return {};
  std::vector<std::byte> bytes(head.bytes);
  if (!read_all(journal.fd(), bytes.data(), bytes.size(), end + sizeof head) ||
      head.checksum != checksum_of(head, bytes.data())) {
    return {};
  }
  return bytes;
}

void forget_told(const Region& journal) noexcept {
  // Failing, it leaves what does not count: the table's generation has gone on.
  static_cast<void>(::ftruncate(journal.fd(), static_cast<off_t>(end_of(journal))) == 0);
}

Result<UniqueFd> take_lock_of_running(const InstanceName& name, const std::function<void(const std::string&)>& log,
                                      Prepared& prepared) {
  // One descriptor of the journal, and no other until the end: closing any would drop the lock.
  Result<RegionFile> journal = open_region_file(name.journal(), Access::kReadWrite);
  if (!journal) {
    if (journal.status() == StatusCode::kNoServer) return UniqueFd();
    return journal.status();
  }
  const LockHolder holder = lock_holder(journal->fd.get());
  if (!holder.held) return UniqueFd();
  if (holder.pid == 0) {
    return Status(StatusCode::kInvalid, "the server '" + name.name() +
                                            "' runs in another pid namespace and cannot be asked from here; start the "
                                            "next one in its container, or stop it with --keep");
  }
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, holder.pid, 0)));
  const Status header = check_region_header(journal->fd.get(), journal->bytes, name.journal(), RegionKind::kJournal);
  if (header == StatusCode::kOtherVersion) {
    return Status(StatusCode::kOtherVersion, std::string(header.message()) +
                                                 ". It serves on: a map of another layout cannot be taken over. Stop "
                                                 "it (hostmap stop), which removes its map, and start this one");
  }
  if (!header.ok()) return header;
  for (auto [kind, path, region] : {std::tuple{RegionKind::kMaster, &name.master(), &prepared.master},
                                    std::tuple{RegionKind::kTable, &name.table(), &prepared.table}}) {
    Result<Region> mapped = Region::open(*path, kind, Access::kReadWrite);
    if (!mapped) return mapped.status();
    mapped->prefault();
    *region = std::move(*mapped);
  }
  // Before it is asked: the service manager must not take the other's end for the service's.
  notify_service_manager("MAINPID=" + std::to_string(::getpid()));
  const LockHolder now = lock_holder(journal->fd.get());
  if (now.held && now.pid == holder.pid && !send_termination(process.get(), kWishKeep) && errno != ESRCH) {
    const int error = errno;
    return Status(StatusCode::kPermission, "cannot ask the server '" + name.name() + "' (pid " +
                                               std::to_string(holder.pid) + ") to hand over: " + std::strerror(error) +
                                               "; run as its user");
  }
  // Not given up on: whoever has been asked does stop, and must find a successor.
  const std::int64_t begin = monotonic_ns();
  for (bool told = false; try_lock_file(journal->fd.get()) != LockOutcome::kLocked;) {
    if (!told && monotonic_ns() - begin > kLongNs) {
      told = true;
      log("still waiting for the server '" + name.name() + "' (pid " + std::to_string(holder.pid) +
          ") to hand over; if it is stopped, let it go on");
    }
    std::this_thread::sleep_for(kBetweenTries);
  }
  struct stat mine {};
  struct stat named {};
  if (::fstat(journal->fd.get(), &mine) != 0 || ::stat(name.journal().c_str(), &named) != 0 ||
      mine.st_ino != named.st_ino) {
    prepared = {};
    return UniqueFd();  // it has stopped for good just now
  }
  return std::move(journal->fd);
}

}  // namespace hostmap
