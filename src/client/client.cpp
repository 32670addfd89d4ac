#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <sched.h>
#include <sys/mman.h>
#include <utility>

#include <hostmap/client.hpp>

#include "client/session.hpp"
#include "table/reader_scan.hpp"

namespace hostmap {

namespace {

// A word that reads 1 in the process that made it and 0 in its children: how a fork is noticed without a system call.
class ForkMark {
 public:
  ForkMark() noexcept {
    void* page = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    if (::madvise(page, kPageSize, MADV_WIPEONFORK) != 0) {
      ::munmap(page, kPageSize);
      return;
    }
    word_ = static_cast<std::atomic<int>*>(page);
    set();
  }
  ~ForkMark() {
    if (word_ != nullptr) ::munmap(word_, kPageSize);
  }
  ForkMark(const ForkMark&) = delete;
  ForkMark& operator=(const ForkMark&) = delete;

  bool usable() const noexcept { return word_ != nullptr; }
  bool in_child() const noexcept { return word_->load(std::memory_order_relaxed) == 0; }  // relaxed: of this process
  void set() noexcept { word_->store(1, std::memory_order_relaxed); }                     // relaxed: likewise

 private:
  std::atomic<int>* word_ = nullptr;
};

std::span<const std::byte> span_of(const Bytes& bytes) noexcept { return {bytes.data(), bytes.size()}; }

Status key_status(const Bytes& key) noexcept {
  if (key.size() == 0) return {StatusCode::kInvalid, "the key is empty; a key has 1 to 65,536 bytes"};
  return {StatusCode::kTooLarge, "the key is longer than 65,536 bytes"};
}

// How many gets of a multi_get are under way at once: about as many lines as a core keeps outstanding.
constexpr std::size_t kGroup = 16;

bool is_key(const Bytes& key) noexcept { return key.size() - 1 < kMaxKeyBytes; }

// Writes that failed behind the back of their calls, until a flush tells of them.
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
      return {first_, what + std::to_string(count_) + "; the first one because: " + std::string(describe(first_))};
    } catch (...) {
      return first_;
    }
  }

 private:
  std::uint64_t count_ = 0;
  StatusCode first_ = StatusCode::kOk;
  bool some_late_ = false;  // of calls that had timed out
};

}  // namespace

struct Client::Impl {
  Impl(Options chosen, InstanceName instance) : options(std::move(chosen)), name(std::move(instance)) {}
  ~Impl() {
    if (fork_mark.usable() && fork_mark.in_child()) disown_all();
    std::unique_ptr<Session> session(newest.load(std::memory_order_relaxed));  // relaxed: nobody else is left
    while (session != nullptr) session = std::move(session->previous);
  }

  Deadline deadline() const noexcept { return Deadline(options.timeout); }

  // The session to use now; connects anew if the last one has ended, or is a parent's.
  Result<Session*> current(Deadline& deadline) noexcept {
    if (fork_mark.in_child()) [[unlikely]]
      become_child();
    if (Session* session = current_if_usable(); session != nullptr) [[likely]]
      return session;
    // [session.use] acquire; pairs with [session.renew]
    return renew(session_now.load(std::memory_order_acquire), deadline);
  }

  // The same without connecting: null when there is more to do.
  Session* current_if_usable() noexcept {
    if (fork_mark.in_child()) [[unlikely]]
      return nullptr;
    // [session.use] acquire; pairs with [session.renew]
    Session* session = session_now.load(std::memory_order_acquire);
    return session != nullptr && !session->closed() ? session : nullptr;
  }

  Result<Session*> renew(Session* ended, Deadline& deadline) noexcept;
  Status connect_first(Deadline& deadline) noexcept;
  void become_child() noexcept;
  void disown_all() noexcept;

  Status queue(const Bytes& key, const Bytes& value) noexcept;
  void write_to(Session* session) noexcept;
  Status mutate(Op op, const Bytes& key, const ValueParts& value, std::uint64_t largest,
                std::int64_t* number = nullptr) noexcept;
  Status ask(Session& session, std::uint32_t lane, Op op, std::span<const std::byte> key, const ValueParts& value,
             std::int64_t* number, Deadline& limit) noexcept;
  Session* session_to_read() noexcept;
  bool still_current(const Session* session) const noexcept;
  Result<std::uint64_t> read(const Bytes& key, const ValueTarget& target) noexcept;
  Result<std::uint64_t> read_by_ring(Session& session, const Bytes& key, const ValueTarget& target,
                                     Deadline& deadline) noexcept;
  Status await_own_writes(Session& session, std::uint32_t lane, Deadline& deadline) noexcept;
  Status await_own_writes(Session& session, Deadline& deadline) noexcept;
  Result<Session*> current_with_own_writes(Deadline& deadline) noexcept;

  Options options;
  InstanceName name;
  ForkMark fork_mark;
  std::atomic<Session*> session_now{nullptr};
  // The writing thread's: the session that it wrote to last, whether queued writes of earlier ones were never reported, and
  // what the next flush has to tell.
  Session* written = nullptr;
  bool writes_lost = false;
  Failures failures;
  std::timed_mutex renew_mutex;           // guards `newest`
  std::timed_mutex read_mutex;            // guards the read channels
  std::atomic<Session*> newest{nullptr};  // owned; the others hang on it
};

// --- Sessions --------------------------------------------------------------------------------------------------------

Status Client::Impl::connect_first(Deadline& deadline) noexcept {
  for (;;) {
    const Result<Session*> session = renew(nullptr, deadline);
    if (session) return {};
    if (!options.wait_for_server || !(session.status() == StatusCode::kNoServer)) return session.status();
    if (deadline.left() == 0) return session.status();
    await_change_of_folder(name, deadline);
  }
}

Result<Session*> Client::Impl::renew(Session* ended, Deadline& deadline) noexcept {
  if (!lock_within(renew_mutex, deadline)) return Status(StatusCode::kTimeout);
  const std::lock_guard<std::timed_mutex> lock(renew_mutex, std::adopt_lock);
  // relaxed: under the mutex that its writers hold
  if (Session* now = session_now.load(std::memory_order_relaxed); now != ended) return now;
  Session* fresh;
  try {
    Result<std::unique_ptr<Session>> session = Session::open(name, deadline);
    if (!session) return session.status();
    fresh = session->release();
  } catch (...) {
    return Status::out_of_memory();
  }
  fresh->previous.reset(newest.load(std::memory_order_relaxed));  // relaxed: under the mutex
  // [session.list] release; pairs with [session.walk]: a fork at any moment finds the list whole
  newest.store(fresh, std::memory_order_release);
  session_now.store(fresh, std::memory_order_release);  // [session.renew] release; pairs with [session.use]
  if (ended != nullptr) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // [session.retire] seq_cst; pairs with [session.check]
    ended->retire();
  }
  return fresh;
}

// Called by the child's first call. Everything here is the parent's, but for the memory: nobody else runs in it yet.
void Client::Impl::become_child() noexcept {
  new (&renew_mutex) std::timed_mutex;  // a parent's thread may have held them at the fork
  new (&read_mutex) std::timed_mutex;
  disown_all();
  session_now.store(nullptr, std::memory_order_relaxed);  // relaxed: this thread reads it next
  written = nullptr;                                      // queued writes are the parent's
  writes_lost = false;
  failures = {};
  fork_mark.set();
}

void Client::Impl::disown_all() noexcept {
  // [session.walk] acquire; pairs with [session.list]
  for (Session* session = newest.load(std::memory_order_acquire); session != nullptr;
       session = session->previous.get()) {
    session->disown();
  }
}

// --- Writes ----------------------------------------------------------------------------------------------------------

// Sends a write to its lane and waits for what it is answered. `largest`: of the user's values, in bytes. `number`: of an
// increment, the new one.
Status Client::Impl::mutate(Op op, const Bytes& key, const ValueParts& value, std::uint64_t largest,
                            std::int64_t* number) noexcept {
  if (!is_key(key)) return key_status(key);
  Deadline limit = deadline();
  const Result<Session*> session = current(limit);
  if (!session) return session.status();
  if (largest > (*session)->reader().max_value_bytes()) return StatusCode::kTooLarge;
  return ask(**session, (*session)->reader().shard_of(span_of(key)), op, span_of(key), value, number, limit);
}

Status Client::Impl::ask(Session& session, std::uint32_t lane, Op op, std::span<const std::byte> key,
                         const ValueParts& value, std::int64_t* number, Deadline& limit) noexcept {
  const Result<ClientChannel*> channel = session.channel(lane, limit);
  if (!channel) return channel.status();
  if (Status status = (*channel)->send_any(op, true, key, value, limit); !status.ok()) return status;
  const Result<ClientChannel::Answer> answer = (*channel)->await_answer(limit);
  if (!answer) return answer.status();
  const StatusCode code = answer->code;
  if (number != nullptr && answer->value.size() == sizeof *number) {
    std::memcpy(number, answer->value.data(), sizeof *number);
  }
  (*channel)->release();
  session.note_applied(lane);  // the lane is in order: what was queued before this is applied, too
  return code;
}

Status Client::put(Bytes key, Bytes value) noexcept {
  return impl_->mutate(Op::kPut, key, span_of(value), value.size());
}

Status Client::insert(Bytes key, Bytes value) noexcept {
  return impl_->mutate(Op::kInsert, key, span_of(value), value.size());
}

Status Client::erase(Bytes key) noexcept { return impl_->mutate(Op::kErase, key, {}, 0); }

Status Client::compare_exchange(Bytes key, Bytes expected, Bytes desired) noexcept {
  const Comparison comparison{expected.size()};
  const std::span<const std::byte> head(reinterpret_cast<const std::byte*>(&comparison), sizeof comparison);
  return impl_->mutate(Op::kCompareExchange, key, {head, span_of(expected), span_of(desired)},
                       std::max(expected.size(), desired.size()));
}

Result<std::int64_t> Client::add(Bytes key, std::int64_t by) noexcept {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(&by), sizeof by);
  std::int64_t number = 0;
  Status status = impl_->mutate(Op::kIncrement, key, bytes, 0, &number);
  if (!status.ok()) return status;
  return number;
}

Status Client::clear() noexcept {
  Impl& impl = *impl_;
  Deadline limit = impl.deadline();
  // What this client has queued in other lanes comes before.
  const Result<Session*> session = impl.current_with_own_writes(limit);
  if (!session) return session.status();
  return impl.ask(**session, kLaneOfClear, Op::kClear, {}, {}, nullptr, limit);
}

Status Client::put_async(Bytes key, Bytes value) noexcept {
  if (!is_key(key)) return key_status(key);
  // The usual case, without any of what the unusual ones need: the session lives, the channel is open and has room.
  if (Session* session = impl_->current_if_usable(); session != nullptr && session == impl_->written) [[likely]] {
    const std::uint32_t lane = session->reader().shard_of(span_of(key));
    ClientChannel* channel = session->end().open_channel(lane);
    if (channel != nullptr && value.size() <= session->reader().max_value_bytes() &&
        channel->try_send(Op::kPut, span_of(key), span_of(value))) [[likely]] {
      session->note_queued(lane, channel->sent());
      return {};
    }
  }
  return impl_->queue(key, value);
}

// From here on the writing thread writes to `session`; what it had queued elsewhere and never heard of is lost.
void Client::Impl::write_to(Session* session) noexcept {
  if (session == written) return;
  writes_lost = writes_lost || (written != nullptr && written->any_unreported());
  written = session;
}

Status Client::Impl::queue(const Bytes& key, const Bytes& value) noexcept {
  Deadline limit = deadline();
  const Result<Session*> session = current(limit);
  if (!session) return session.status();
  write_to(*session);
  if (value.size() > (*session)->reader().max_value_bytes()) return StatusCode::kTooLarge;
  const std::uint32_t lane = (*session)->reader().shard_of(span_of(key));
  const Result<ClientChannel*> channel = (*session)->channel(lane, limit);
  if (!channel) return channel.status();
  Status status = (*channel)->send_any(Op::kPut, false, span_of(key), span_of(value), limit);
  (*session)->note_queued(lane, (*channel)->sent());
  return status;
}

Status Client::flush() noexcept {
  Impl& impl = *impl_;
  Deadline limit = impl.deadline();
  const Result<Session*> session = impl.current(limit);
  impl.write_to(session ? *session : nullptr);
  if (std::exchange(impl.writes_lost, false)) return StatusCode::kClosed;
  if (!session) return session.status();

  // With its connection gone, what was queued on it is reported by this very status.
  const auto failed = [&](Status status) {
    if (status == StatusCode::kClosed) (*session)->note_all_reported();
    return status;
  };
  const auto owes = [&](std::uint32_t lane) {
    const ClientChannel* channel = (*session)->end().open_channel(lane);
    return (*session)->unreported(lane) || (channel != nullptr && channel->owes_outcomes());
  };
  for (const bool sending : {true, false}) {
    for (std::uint32_t lane = 0; lane < (*session)->lanes(); ++lane) {
      if (!owes(lane)) continue;
      const Result<ClientChannel*> channel = (*session)->channel(lane, limit);
      if (!channel) return failed(channel.status());
      if (sending) {
        if (Status status = (*channel)->send_any(Op::kFlush, true, {}, {}, limit); !status.ok()) {
          return failed(std::move(status));
        }
        continue;
      }
      const Result<ClientChannel::Answer> answer = (*channel)->await_answer(limit);
      if (!answer) return failed(answer.status());
      const ClientChannel::LateOutcomes late = (*channel)->take_late_outcomes();
      impl.failures.add(late.failed, late.first, true);
      impl.failures.add(refused_writes(answer->value), answer->code, false);
      (*channel)->release();
      (*session)->note_applied(lane);
      (*session)->note_reported(lane);
    }
  }
  return std::exchange(impl.failures, {}).status();
}

// --- Reads -----------------------------------------------------------------------------------------------------------

Status Client::Impl::await_own_writes(Session& session, std::uint32_t lane, Deadline& limit) noexcept {
  const std::uint64_t position = session.queued_position(lane);
  if (position == 0) [[likely]]
    return {};
  const Result<ClientChannel*> channel = session.channel(lane, limit);
  if (!channel) return channel.status();
  return (*channel)->await_consumed(position, limit);
}

Status Client::Impl::await_own_writes(Session& session, Deadline& limit) noexcept {
  for (std::uint32_t lane = 0; lane < session.lanes(); ++lane) {
    if (Status status = await_own_writes(session, lane, limit); !status.ok()) return status;
  }
  return {};
}

// The session to use for what concerns every lane, with all that this client has queued applied.
Result<Session*> Client::Impl::current_with_own_writes(Deadline& limit) noexcept {
  for (;;) {
    const Result<Session*> session = current(limit);
    if (!session) return session.status();
    Status status = await_own_writes(**session, limit);
    if (status.ok()) return *session;
    if (!(status == StatusCode::kClosed)) return status;  // else the table is gone with the writes; flush will say so
  }
}

// The session that direct reads may use at once; null when there is more to do: other threads' or this one's writes to wait
// for, a fork to notice, a server to find.
Session* Client::Impl::session_to_read() noexcept {
  if (options.reads != Reads::kDirect || fork_mark.in_child()) return nullptr;
  // [session.use] acquire; pairs with [session.renew]
  Session* session = session_now.load(std::memory_order_acquire);
  return session != nullptr && !session->any_queued() ? session : nullptr;
}

// Is what was just read by way of `session` to be believed? If the session was retired meanwhile, it may be zeroes.
bool Client::Impl::still_current(const Session* session) const noexcept {
  std::atomic_thread_fence(std::memory_order_acquire);  // [session.check] acquire; pairs with [session.retire]
  return session_now.load(std::memory_order_relaxed) == session;  // relaxed: behind the fence
}

Result<std::uint64_t> Client::Impl::read(const Bytes& key, const ValueTarget& target) noexcept {
  if (!is_key(key)) return key_status(key);
  Deadline limit = deadline();
  for (;;) {
    Session* usable = session_to_read();
    if (usable == nullptr) {
      const Result<Session*> at = current(limit);
      if (!at) return at.status();
      usable = *at;
      const std::uint32_t lane = usable->reader().shard_of(span_of(key));
      if (Status status = await_own_writes(*usable, lane, limit); !status.ok()) {
        if (status == StatusCode::kClosed) continue;  // the table is gone with the writes; flush will say so
        return status;
      }
    }
    Session& session = *usable;
    if (options.reads == Reads::kRing) {
      Result<std::uint64_t> value = read_by_ring(session, key, target, limit);
      if (!value && value.status() == StatusCode::kClosed && limit.left() != 0) continue;
      return value;
    }
    const TableReader::Result found = session.reader().get(span_of(key), target);
    if (!still_current(&session)) [[unlikely]]
      continue;
    if (found.retries != 0) [[unlikely]] {
      session.end().counters().read_retries.fetch_add(found.retries, std::memory_order_relaxed);  // relaxed: a counter
    }
    switch (found.outcome) {
      case ReadOutcome::kHit:
        return found.size;
      case ReadOutcome::kMiss:
        return StatusCode::kNotFound;
      case ReadOutcome::kTooSmall:
        return Status::buffer_too_small(found.size);
      case ReadOutcome::kOutOfMemory:
        return Status::out_of_memory();
      case ReadOutcome::kContended: {
        session.end().counters().read_fallbacks.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
        Result<std::uint64_t> value = read_by_ring(session, key, target, limit);
        if (value || !(value.status() == StatusCode::kClosed)) return value;
        if (const Result<Session*> renewed = renew(&session, limit); !renewed) return renewed.status();
        break;
      }
      case ReadOutcome::kClosed: {
        const Result<Session*> renewed = renew(&session, limit);
        if (!renewed) return renewed.status();
        break;
      }
    }
  }
}

Result<std::uint64_t> Client::Impl::read_by_ring(Session& session, const Bytes& key, const ValueTarget& target,
                                                 Deadline& limit) noexcept {
  if (!lock_within(read_mutex, limit)) return StatusCode::kTimeout;
  const std::lock_guard<std::timed_mutex> lock(read_mutex, std::adopt_lock);
  const std::uint32_t lane = session.reader().shard_of(span_of(key));
  const Result<ClientChannel*> opened = session.channel(session.lanes() + lane, limit);
  if (!opened) return opened.status();
  ClientChannel& channel = **opened;

  PieceCursor cursor{};
  std::uint64_t received = 0;
  std::byte* to = nullptr;
  for (;;) {
    std::span<const std::byte> more;
    if (received != 0) more = {reinterpret_cast<const std::byte*>(&cursor), sizeof cursor};
    if (Status status = channel.send_any(Op::kGet, true, span_of(key), more, limit); !status.ok()) return status;
    const Result<ClientChannel::Answer> answer = channel.await_answer(limit);
    if (!answer) return answer.status();
    const StatusCode code = answer->code;
    const std::span<const std::byte> bytes = answer->value;
    PieceHead head{};
    if (code == StatusCode::kOk && bytes.size() >= sizeof head) std::memcpy(&head, bytes.data(), sizeof head);
    const std::uint64_t piece = bytes.size() >= sizeof head ? bytes.size() - sizeof head : 0;
    if (code == StatusCode::kOk && (bytes.size() < sizeof head || piece > head.total_bytes - received ||
                                    (piece == 0 && received < head.total_bytes))) {
      session.end().break_off();
      return Status(StatusCode::kInternal, kSenselessAnswer);
    }
    const bool fits = target.fits(head.total_bytes);
    if (code == StatusCode::kOk && target.wanted() && fits) {
      if (received == 0) to = target.room(head.total_bytes);
      if (to != nullptr && piece != 0) std::memcpy(to + received, bytes.data() + sizeof head, piece);
    }
    channel.release();
    if (code == StatusCode::kMismatch) {  // another value by now: start over
      received = 0;
      continue;
    }
    if (code != StatusCode::kOk) return code;
    if (!target.wanted()) return head.total_bytes;
    if (!fits) return Status::buffer_too_small(head.total_bytes);
    if (to == nullptr) return Status::out_of_memory();
    received += piece;
    if (received == head.total_bytes) return head.total_bytes;
    cursor = {received, head.entry, head.generation};
  }
}

Result<std::string> Client::get(Bytes key) noexcept {
  std::string value;
  const Result<std::uint64_t> size = impl_->read(key, ValueTarget::string(value));
  if (!size) return size.status();
  return value;
}

Result<std::size_t> Client::get_into(Bytes key, std::span<std::byte> buffer) noexcept {
  if (key.size() == 8 && buffer.size() >= 8) {
    std::uint64_t word;
    std::uint64_t value;
    std::memcpy(&word, key.data(), sizeof word);
    const Session* session = impl_->session_to_read();
    if (session != nullptr && session->reader().get_pair(word, value) && impl_->still_current(session)) [[likely]] {
      std::memcpy(buffer.data(), &value, sizeof value);
      return sizeof value;
    }
  }
  const Result<std::uint64_t> size = impl_->read(key, ValueTarget::buffer(buffer));
  if (!size) return size.status();
  return static_cast<std::size_t>(*size);
}

std::vector<Result<std::string>> Client::multi_get(std::span<const std::string_view> keys) noexcept {
  std::vector<Result<std::string>> results;
  try {
    results.reserve(keys.size());
  } catch (...) {
    return {};
  }
  Impl& impl = *impl_;
  std::array<std::uint64_t, kGroup> hashes;
  for (std::size_t begin = 0; begin < keys.size(); begin += kGroup) {
    const std::span<const std::string_view> group = keys.subspan(begin, std::min(kGroup, keys.size() - begin));
    // All buckets of a group are asked for before the first is looked at, then all entries. Not the keys' first look-up is
    // what costs, but the way to memory.
    Session* session = impl.session_to_read();
    if (session != nullptr) {
      const TableReader& reader = session->reader();
      for (std::size_t i = 0; i < group.size(); ++i) {
        if (group[i].empty()) continue;
        hashes[i] = reader.hash_of(span_of(group[i]));
        reader.prefetch_bucket(span_of(group[i]), hashes[i]);
      }
      for (std::size_t i = 0; i < group.size(); ++i) {
        if (!group[i].empty()) reader.prefetch_entry(span_of(group[i]), hashes[i]);
      }
    }
    for (std::size_t i = 0; i < group.size(); ++i) {
      std::string value;
      const ValueTarget target = ValueTarget::string(value);
      if (session != nullptr && is_key(group[i])) {
        const TableReader::Result found = session->reader().get_hashed(span_of(group[i]), hashes[i], target);
        if (found.outcome == ReadOutcome::kHit && impl.still_current(session)) [[likely]] {
          results.emplace_back(std::move(value));
          continue;
        }
      }
      const Result<std::uint64_t> size = impl.read(group[i], target);
      if (size) {
        results.emplace_back(std::move(value));
      } else {
        results.emplace_back(size.status());
      }
    }
  }
  return results;
}

Status Client::scan_with(Bytes prefix, Visitor each, void* target) {
  Impl& impl = *impl_;
  Deadline patience = impl.deadline();
  const Result<Session*> session = impl.current_with_own_writes(patience);
  if (!session) return session.status();
  std::string value;
  TableScan scan((*session)->reader(), span_of(prefix));
  for (;;) {
    TableScan::Step step = TableScan::Step::kContended;
    try {
      step = scan.next();
    } catch (const std::bad_alloc&) {
      return Status::out_of_memory();
    }
    if (!impl.still_current(*session) || step == TableScan::Step::kClosed) return StatusCode::kClosed;
    if (step == TableScan::Step::kDone) return {};
    if (step == TableScan::Step::kContended) {
      if (patience.left() == 0) return StatusCode::kTimeout;
      ::sched_yield();
      continue;
    }
    patience = impl.deadline();
    for (const TableScan::Item& item : scan.items()) {
      std::string_view found(reinterpret_cast<const char*>(&item.value), sizeof item.value);
      if (!item.is_pair) {
        const Result<std::uint64_t> size = impl.read(std::string_view(item.key), ValueTarget::string(value));
        if (!size && size.status() == StatusCode::kNotFound) continue;  // gone since
        if (!size) return size.status();
        found = value;
      }
      if (!each(target, item.key, found)) return {};
    }
  }
}

Result<std::uint64_t> Client::size() noexcept {
  Impl& impl = *impl_;
  Deadline limit = impl.deadline();
  for (;;) {
    const Result<Session*> session = impl.current_with_own_writes(limit);
    if (!session) return session.status();
    const std::uint64_t keys = (*session)->reader().count_keys();
    if (impl.still_current(*session)) return keys;
  }
}

Status Client::exists(Bytes key) noexcept { return impl_->read(key, ValueTarget::none()).status(); }

// --- Life ------------------------------------------------------------------------------------------------------------

Result<Client> Client::connect(const Options& options) noexcept {
  try {
    Result<InstanceName> name = InstanceName::parse(options.name, options.dir);
    if (!name) return name.status();
    if (options.timeout <= std::chrono::nanoseconds::zero()) {
      return Status(StatusCode::kInvalid, "the timeout is not above zero");
    }
    auto impl = std::make_unique<Impl>(options, std::move(*name));
    if (!impl->fork_mark.usable()) return Status::out_of_memory();
    Deadline limit = impl->deadline();
    if (Status status = impl->connect_first(limit); !status.ok()) return status;
    return Client(std::move(impl));
  } catch (...) {
    return Status::out_of_memory();
  }
}

Client::Client(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

}  // namespace hostmap
