#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <utility>

#include <hostmap/client.hpp>

#include "client/session.hpp"

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

bool is_key(const Bytes& key) noexcept { return key.size() - 1 < kMaxKeyBytes; }

Status out_of_memory() noexcept { return {StatusCode::kFull, "this process is out of memory"}; }

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
  Status mutate(Op op, const Bytes& key, const Bytes& value) noexcept;
  TableReader::Result read_direct(Session& session, const Bytes& key, const ValueTarget& target) noexcept;
  Session* session_to_read() noexcept;
  bool still_current(const Session* session) const noexcept;
  Result<std::uint64_t> read(const Bytes& key, const ValueTarget& target) noexcept;
  Result<std::uint64_t> read_by_ring(Session& session, const Bytes& key, const ValueTarget& target,
                                     Deadline& deadline) noexcept;
  Status await_own_writes(Session& session, std::uint32_t lane, Deadline& deadline) noexcept;
  Status ask_server(Op op) noexcept;

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
    return out_of_memory();
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

Status Client::Impl::mutate(Op op, const Bytes& key, const Bytes& value) noexcept {
  if (!is_key(key)) return key_status(key);
  Deadline limit = deadline();
  const Result<Session*> session = current(limit);
  if (!session) return session.status();
  if (value.size() > (*session)->reader().max_value_bytes()) return StatusCode::kTooLarge;
  const std::uint32_t lane = (*session)->reader().shard_of(span_of(key));
  const Result<ClientChannel*> channel = (*session)->channel(lane, limit);
  if (!channel) return channel.status();
  if (Status status = (*channel)->send_any(op, true, span_of(key), span_of(value), limit); !status.ok()) return status;
  const Result<ClientChannel::Answer> answer = (*channel)->await_answer(limit);
  if (!answer) {
    if (answer.status() == StatusCode::kInternal) (*session)->end().close();
    return answer.status();
  }
  const StatusCode code = answer->code;
  (*channel)->release();
  (*session)->note_applied(lane);  // the lane is in order: what was queued before this is applied, too
  return code;
}

Status Client::put(Bytes key, Bytes value) noexcept { return impl_->mutate(Op::kPut, key, value); }

Status Client::erase(Bytes key) noexcept { return impl_->mutate(Op::kErase, key, std::string_view()); }

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
        return out_of_memory();
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
      channel.release();
      return Status(StatusCode::kInternal, "the server's answer makes no sense; reconnect, and please report it");
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
    if (to == nullptr) return out_of_memory();
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
    if (!impl->fork_mark.usable()) return out_of_memory();
    Deadline limit = impl->deadline();
    if (Status status = impl->connect_first(limit); !status.ok()) return status;
    return Client(std::move(impl));
  } catch (...) {
    return out_of_memory();
  }
}

Client::Client(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

}  // namespace hostmap
