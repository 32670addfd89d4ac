// Client::Impl: the state of a Client: its session, the failed writes that are not reported yet, and the detection of forks.
//
//   client.cpp     life cycle: connecting, reconnecting, forks
//   expiry.cpp     calls that set or return when a key ends
//   writes.cpp     calls that wait for room or an answer in a write channel
//   reads.cpp      gets, by direct reads and by ring; scan and size
//   conditions.cpp changes that depend on the value, by its token
//   numbers.cpp    numbers as text or as 8 bytes
//   multi_get.cpp  gets of several keys at once
//   batch.cpp      batches of requests with an answer for each
//   cursor.cpp     a scan in parts
//   wait.cpp       waiting until a key changes
//   leases.cpp     leases, and values that one process computes for all
//   time_limit.cpp the limit of a thread's calls
//
// Threads: any number. Reads need no lock; a thread that writes holds own.turn, one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <utility>
#include <vector>

#include <hostmap/client.hpp>

#include "client/read_countdown.hpp"
#include "client/session.hpp"
#include "client/turn.hpp"
#include "layout/region.hpp"

namespace hostmap {

// A page that is zeroed in a child of fork. It holds what the child must not take over: a fork is thus detected without a
// system call, and a read needs a single load, because the session that it finds here belongs to this process.
class alignas(kPageSize) OwnPage {
 public:
  // Private anonymous memory, as WIPEONFORK requires.
  OwnPage() {
    if (::madvise(this, sizeof *this, MADV_WIPEONFORK) != 0) throw std::bad_alloc();
    set_own();
  }
  OwnPage(const OwnPage&) = delete;
  OwnPage& operator=(const OwnPage&) = delete;

  bool in_child() const noexcept { return mark_.load(std::memory_order_relaxed) == 0; }  // relaxed: of this process
  void set_own() noexcept { mark_.store(1, std::memory_order_relaxed); }                 // relaxed: likewise

  // The session to use now. Null in a child, and before the first session.
  std::atomic<Session*> session{nullptr};
  // The turn of the thread that writes.
  WriteTurn turn;

 private:
  std::atomic<int> mark_{0};
};

// Writes that failed after their calls had returned, until a flush reports them.
class Failures {
 public:
  void add(std::uint64_t count, StatusCode code, bool late) noexcept {
    if (count == 0) return;
    if (count_ == 0) first_ = code;
    count_ += count;
    some_late_ = some_late_ || late;
  }
  Status status() const noexcept {
    if (count_ == 0) return {};
    try {
      const std::string what =
          some_late_ ? "writes failed, queued ones or those of calls that timed out: " : "queued writes refused: ";
      return {first_, what + std::to_string(count_) + "; the first one: " + std::string(describe(first_))};
    } catch (...) {
      return first_;
    }
  }

 private:
  std::uint64_t count_ = 0;
  StatusCode first_ = StatusCode::kOk;
  bool some_late_ = false;  // of calls that had timed out
};

class Watch;

struct Client::Impl {
  // Allocated by the system, because `own` needs a page.
  static void* operator new(std::size_t size) {
    void* pages =
        ::mmap(nullptr, round_up(size, kPageSize), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    return pages;
  }
  static void operator delete(void* pages, std::size_t size) noexcept { ::munmap(pages, round_up(size, kPageSize)); }

  Impl(Options chosen, InstanceName instance)
      : options(std::move(chosen)),
        policy{options.timeout.count(), options.sleeping, options.context},
        name(std::move(instance)) {
    own.turn.allow_bias(WriteTurn::register_process());
  }
  ~Impl() {
    if (own.in_child()) disown_all();
    std::unique_ptr<Session> session(newest.load(std::memory_order_relaxed));  // relaxed: nobody else is left
    while (session != nullptr) session = std::move(session->previous);
  }

  Deadline deadline() const noexcept { return Deadline(policy); }

  // The session to use now; connects again if the last one has ended, or belongs to a parent.
  Result<Session*> current(Deadline& deadline) noexcept {
    if (own.in_child()) [[unlikely]]
      become_child();
    if (Session* session = current_if_usable(); session != nullptr) [[likely]]
      return session;
    // [session.use] acquire; pairs with [session.renew]
    return renew(own.session.load(std::memory_order_acquire), deadline);
  }

  // The same without connecting: null when the slow path is needed.
  Session* current_if_usable() noexcept {
    // [session.use] acquire; pairs with [session.renew]
    Session* session = own.session.load(std::memory_order_acquire);
    return session != nullptr && !session->closed() ? session : nullptr;
  }

  Result<Session*> renew(Session* ended, Deadline& deadline) noexcept;
  Result<Session*> try_to_renew(Session* ended, Deadline& deadline) noexcept;
  void become_child() noexcept;
  void disown_all() noexcept;

  // kPermission for a client that only reads.
  Status may_write() const noexcept {
    if (!options.read_only) [[likely]]
      return {};
    return {StatusCode::kPermission, "this client is read_only; connect another one to write"};
  }
  Status queue(Op op, const Bytes& key, const Bytes& value, std::uint64_t end) noexcept;
  void write_to(Session* session) noexcept;
  Status mutate(Op op, const Bytes& key, const ValueParts& value, std::uint64_t largest, std::int64_t* number = nullptr,
                std::uint64_t end = kNoEnd) noexcept;
  Status mutate_within(Deadline& limit, Op op, const Bytes& key, const ValueParts& value, std::uint64_t largest,
                       std::uint64_t end = kNoEnd) noexcept;
  Status mutate_in_line(Op op, const Bytes& key, const ValueParts& value, std::uint64_t largest, std::int64_t* number,
                        std::uint64_t end, Deadline& limit) noexcept;
  template <typename Write>
  Status with_turn(Deadline& limit, const Write& write) noexcept;
  Status send_and_await(Session& session, std::uint32_t lane, Op op, std::span<const std::byte> key,
                        const ValueParts& value, std::int64_t* number, std::uint64_t end, Deadline& limit) noexcept;
  Status apply(std::span<const Operation> operations, std::span<Outcome> outcomes, Deadline& limit) noexcept;
  Session* session_to_read() noexcept;
  static Session* session_to_read_with_care(Session* session) noexcept;
  Session* session_to_note() noexcept;
  bool read_and_note(std::span<const std::byte> key, const ValueTarget& target, Result<std::uint64_t>& result) noexcept;
  bool still_current(const Session* session) const noexcept;
  template <typename MakeTarget>
  Result<std::uint64_t> look_up(const Session* session, std::span<const std::byte> key, std::uint64_t hash,
                                const MakeTarget& make_target) noexcept;
  template <typename MakeTarget>
  Result<std::uint64_t> look_up(std::span<const std::byte> key, const MakeTarget& make_target) noexcept;
  Result<std::uint64_t> look_up_within(Deadline& limit, const Session* session, const Bytes& key, std::uint64_t hash,
                                       const ValueTarget& target) noexcept;
  Result<std::string> get_with_care(std::span<const std::byte> key) noexcept;
  // `end`: if given, receives that of a key that is found: kNoEnd, or a moment.
  Result<std::uint64_t> read(const Bytes& key, const ValueTarget& target, std::uint64_t* end = nullptr) noexcept;
  Result<std::uint64_t> read_within(Deadline& limit, const Bytes& key, const ValueTarget& target,
                                    std::uint64_t* end = nullptr) noexcept;
  Result<ValueAndToken> read_with_token(Deadline& limit, const Bytes& key) noexcept;
  template <typename Number>
  Result<Number> add(const Bytes& key, NumberForm form, Number by, Number initial,
                     std::chrono::milliseconds ttl_if_new) noexcept;
  template <typename Attempt>
  Status until_unchanged(const Bytes& key, const Attempt& attempt);
  Status put_if(Deadline& limit, const Bytes& key, const Bytes& value, const Token& token) noexcept;
  Status erase_if(Deadline& limit, const Bytes& key, const Token& token) noexcept;
  Deadline part_of(Deadline& limit) const noexcept;
  Status begin_watch(Watch& watch, const Bytes& key, Deadline& limit) noexcept;
  void end_watch(const Watch& watch) noexcept;
  Status ask_for_lease(const Bytes& key, std::chrono::milliseconds length, std::uint64_t awaited, LeaseAnswer& answer,
                       Deadline& limit) noexcept;
  template <typename Look>
  Status await_lease(const Bytes& key, std::chrono::milliseconds length, Deadline& limit, LeaseAnswer& answer,
                     bool wants_failure, const Look& look) noexcept;
  Status release(const Bytes& key, std::uint64_t number, StatusCode failure, Deadline& limit) noexcept;
  Deadline deadline_of_task(std::chrono::milliseconds length) const noexcept;
  Result<ValueOrTask> value_or_task(const Bytes& key, std::chrono::milliseconds length, Deadline& limit) noexcept;
  bool differs(const Bytes& key, const std::optional<Bytes>& known, Deadline& limit,
               Result<std::optional<std::string>>& result, std::uint64_t& end, bool once = false) noexcept;
  Result<std::size_t> entry_into(std::span<const std::byte> key, std::span<std::byte> buffer) noexcept;
  Result<std::uint64_t> read_by_ring(Session& session, const Bytes& key, const ValueTarget& target, std::uint64_t* end,
                                     Deadline& deadline) noexcept;
  Status await_own_writes(Session& session, std::uint32_t lane, Deadline& deadline) noexcept;
  Status await_own_writes(Session& session, Deadline& deadline) noexcept;
  Result<Session*> current_with_own_writes(Deadline& deadline) noexcept;

  OwnPage own;  // first: reads use no other member
  Options options;
  WaitPolicy policy;  // replaces options.timeout, which set_timeout does not change
  InstanceName name;
  // Guarded by own.turn: the session of the last write, whether queued writes of earlier sessions were never reported, and
  // what the next flush has to report.
  Session* written = nullptr;
  bool writes_lost = false;
  Failures failures;
  std::timed_mutex renew_mutex;           // guards `newest`
  std::timed_mutex read_mutex;            // guards the read channels
  std::atomic<Session*> newest{nullptr};  // owned; the older ones are linked from it
};

// Fast path: the session that direct reads may use at once. Null when the slow path is needed: writes of this or other
// threads to wait for, a request by ring, a server to find, a fork to handle. From time to time the slow path checks whether
// the name leads to another server.
inline Session* Client::Impl::session_to_read() noexcept {
  // [session.use] acquire; pairs with [session.renew]
  Session* session = own.session.load(std::memory_order_acquire);
  if (session != nullptr && session->reads_at_once() && !read_countdown.run_out()) [[likely]]
    return session;
  return session_to_read_with_care(session);
}

// May the data just read through `session` be trusted? If the session was retired during the read, it may be zeroes.
inline bool Client::Impl::still_current(const Session* session) const noexcept {
  std::atomic_thread_fence(std::memory_order_acquire);  // [session.check] acquire; pairs with [session.retire]
  return own.session.load(std::memory_order_relaxed) == session;  // relaxed: after the fence
}

// Holds the turn to write for as long as it lives; false: the deadline passed first.
class Turn {
 public:
  Turn(WriteTurn& turn, Deadline& deadline) noexcept : turn_(turn), held_(turn.lock(deadline)) {}
  ~Turn() {
    if (held_) turn_.unlock();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const noexcept { return held_; }

 private:
  WriteTurn& turn_;
  bool held_;
};

inline Status turn_timed_out() {
  return {StatusCode::kTimeout, "timed out while another thread of this client wrote; nothing was sent"};
}

// Calls `write` with the session, while this thread has the turn to write.
template <typename Write>
[[gnu::always_inline]] inline Status Client::Impl::with_turn(Deadline& limit, const Write& write) noexcept {
  if (Status status = may_write(); !status.ok()) return status;
  const Turn turn(own.turn, limit);
  if (!turn) return turn_timed_out();
  const Result<Session*> session = current(limit);
  if (!session) return session.status();
  return write(**session);
}

inline std::span<const std::byte> span_of(const Bytes& bytes) noexcept { return {bytes.data(), bytes.size()}; }

inline Status key_status(const Bytes& key) noexcept {
  if (key.size() == 0) return {StatusCode::kInvalid, "the key is empty; a key has 1 to 65,536 bytes"};
  return {StatusCode::kTooLarge, "the key is longer than 65,536 bytes"};
}

inline Status absent_key_status() noexcept {
  return {StatusCode::kInvalid, "the zero token stands for an absent key, which cannot be erased"};
}

inline bool is_key(const Bytes& key) noexcept { return key.size() - 1 < kMaxKeyBytes; }

}  // namespace hostmap
