#include <new>
#include <string>
#include <utility>

#include "client/impl.hpp"

namespace hostmap {

namespace {

Status check_timeout(std::chrono::nanoseconds timeout) noexcept {
  if (timeout > std::chrono::nanoseconds::zero()) return {};
  return {StatusCode::kInvalid, "the timeout is not above zero"};
}

}  // namespace

// With wait_for_server this waits for a server, at the first connection and whenever the last one has ended.
Result<Session*> Client::Impl::renew(Session* ended, Deadline& deadline) noexcept {
  for (;;) {
    Result<Session*> session = try_to_renew(ended, deadline);
    if (session || !options.wait_for_server || !(session.status() == StatusCode::kNoServer)) return session;
    if (deadline.left() == 0) return session;
    await_change_of_folder(name, deadline);
  }
}

Result<Session*> Client::Impl::try_to_renew(Session* ended, Deadline& deadline) noexcept {
  if (!lock_within(renew_mutex, deadline)) return Status(StatusCode::kTimeout);
  const std::lock_guard<std::timed_mutex> lock(renew_mutex, std::adopt_lock);
  // relaxed: under the mutex that its writers hold
  if (Session* now = own.session.load(std::memory_order_relaxed); now != ended) return now;
  // The next session needs as much address space again.
  if (ended != nullptr) ended->stop_growing();
  Session* fresh;
  try {
    Result<std::unique_ptr<Session>> session =
        options.read_only ? Session::open_to_read(name) : Session::open(name, deadline);
    if (!session) return session.status();
    fresh = session->release();
  } catch (...) {
    return Status::out_of_memory();
  }
  if (options.reads == Reads::kRing) fresh->leave_reads_to_server();
  fresh->choose_way();
  fresh->previous.reset(newest.load(std::memory_order_relaxed));  // relaxed: under the mutex
  // [session.list] release; pairs with [session.walk]: a fork at any moment finds the list whole
  newest.store(fresh, std::memory_order_release);
  own.session.store(fresh, std::memory_order_release);  // [session.renew] release; pairs with [session.use]
  if (ended != nullptr) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // [session.retire] seq_cst; pairs with [session.check]
    ended->retire();
  }
  return fresh;
}

// Called by the child's first call. The state is the parent's, but the memory is this process's, and no other thread runs yet.
void Client::Impl::become_child() noexcept {
  new (&renew_mutex) std::timed_mutex;  // a parent's thread may have held them at the fork
  new (&read_mutex) std::timed_mutex;
  disown_all();
  written = nullptr;  // queued writes belong to the parent
  writes_lost = false;
  failures = {};
  own.set_own();
}

void Client::Impl::disown_all() noexcept {
  // [session.walk] acquire; pairs with [session.list]
  for (Session* session = newest.load(std::memory_order_acquire); session != nullptr;
       session = session->previous.get()) {
    session->disown();
  }
}

Result<Client> Client::connect(const Options& options) noexcept {
  try {
    Result<InstanceName> name = InstanceName::parse(options.name, options.dir, options.group, options.user);
    if (!name) return name.status();
    if (Status status = check_timeout(options.timeout); !status.ok()) return status;
    if (options.read_only && options.reads == Reads::kRing) {
      return Status(StatusCode::kInvalid,
                    "a client that is read_only has no ring to read by; leave out one of the two options");
    }
    auto impl = std::make_unique<Impl>(options, std::move(*name));
    Deadline limit = impl->deadline();
    if (const Result<Session*> first = impl->renew(nullptr, limit); !first) return first.status();
    return Client(std::move(impl));
  } catch (...) {
    return Status::out_of_memory();
  }
}

Result<Client> Client::connect() noexcept {
  try {
    return connect(Options());  // whose name allocates
  } catch (...) {
    return Status::out_of_memory();
  }
}

Status Client::set_timeout(std::chrono::nanoseconds timeout) noexcept {
  if (Status status = check_timeout(timeout); !status.ok()) return status;
  impl_->policy.timeout_ns.store(timeout.count(), std::memory_order_relaxed);  // relaxed: a number
  return {};
}

// For get_as: why `found` is not a value of `wanted` bytes.
Status Client::not_as_wanted(const Result<std::size_t>& found, std::size_t wanted) noexcept {
  if (!found && !(found.status() == StatusCode::kBufferTooSmall)) return found.status();
  try {
    const std::uint64_t size = found ? *found : found.status().size();
    return {StatusCode::kMismatch, "the value has " + std::to_string(size) + " bytes, but the requested type has " +
                                       std::to_string(wanted) + "; read it as the type that was put, or with get"};
  } catch (...) {
    return StatusCode::kMismatch;
  }
}

Client::Client(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

}  // namespace hostmap
