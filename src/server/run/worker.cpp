#include "server/run/worker.hpp"

#include <algorithm>
#include <pthread.h>
#include <sched.h>
#include <string>

#include "layout/connection.hpp"
#include "layout/counter.hpp"
#include "layout/table.hpp"
#include "server/run/dispatch.hpp"
#include "signal/nudge.hpp"

namespace hostmap {

namespace {

// A client whose channel had no request in this many consecutive sweeps is to set hints; after as many again without a
// request the channel leaves the sweep.
constexpr unsigned kIdleSweeps = 256;
// This many idle channels are polled in each sweep without a hint: the cost that a thousand idle connections add to a busy
// one. While a worker has no more channels than that, no hints are needed.
constexpr std::size_t kIdlePolls = 2;
// At most this many are polled because of hints, which any client can set.
constexpr std::size_t kHintedPolls = 32;
// Buckets that a clear left, reclaimed at a time: without other work (some microseconds to a millisecond, depending on their
// content), and with other work, once in this many sweeps.
constexpr unsigned kBucketsWhenIdle = 256;
constexpr unsigned kBucketsWhenBusy = 16;
constexpr unsigned kSweepsPerReclaim = 16;
// Without work, the clock is read once in this many sweeps.
constexpr unsigned kPollsPerClock = 16;
// A parked worker polls at this interval without a bell: a hostile process can requeue its futex waiter elsewhere.
constexpr std::int64_t kParkPatienceNs = 5'000'000'000;
// A parked worker wakes for keys that lapse, but not more often than this.
constexpr std::int64_t kRestFromKeysNs = 1'000'000'000;

}  // namespace

Worker::Worker(Surroundings surroundings, std::uint32_t number, std::vector<std::uint32_t> lanes)
    : around_(surroundings),
      number_(number),
      lanes_(std::move(lanes)),
      park_(*around_.line, around_.bells[number], around_.membarrier),
      cpus_(std::max(1u, std::thread::hardware_concurrency())),
      idle_(2 * lanes_.size() * around_.connections),
      touch_pages_(around_.connections, lanes_) {
  const std::size_t channels = 2 * lanes_.size() * around_.connections;
  active_.reserve(channels);
  served_.reserve(channels);
  for (auto* orders : {&orders_, &taken_}) orders->reserve(channels + 2 * around_.connections);
  space_.resize(kBatchBytes + max_record_bytes(around_.ring_bytes));
  for (const std::uint32_t lane : lanes_) around_.table->shard(lane).wait_groups().set_alarm(has_orders_);
  leases_.resize(lanes_.size());
  lone_works_.resize(lanes_.size());
  // relaxed: the server that starts has stored it
  const std::uint64_t generation = around_.table->header().server_generation.load(std::memory_order_relaxed);
  for (Leases& leases : leases_) leases.begin(generation);
}

Worker::~Worker() {
  if (thread_.joinable()) stop();
}

void Worker::start() {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), ("worker " + std::to_string(number_)).c_str());
}

void Worker::stop() {
  stopping_.store(true, std::memory_order_release);  // [worker.stop] release; pairs with [worker.stopping]
  ring();
  join_nudged(thread_, ended_);
}

void Worker::nudge() noexcept {
  if (thread_.joinable()) hostmap::nudge(thread_);
}

void Worker::ring() noexcept { futex_add_and_wake(around_.bells[number_].rings); }

bool Worker::owns(std::uint32_t lane) const noexcept {
  return std::find(lanes_.begin(), lanes_.end(), lane) != lanes_.end();
}

void Worker::add_channel(std::unique_ptr<ServerChannel> channel) noexcept {
  {
    const std::lock_guard<std::mutex> lock(orders_mutex_);
    orders_.push_back({.add = std::move(channel)});
    has_orders_.store(true, std::memory_order_release);  // [orders.give] release; pairs with [orders.take]
  }
  ring();
}

void Worker::drop_channels(ServerEnd& end) noexcept {
  {
    const std::lock_guard<std::mutex> lock(orders_mutex_);
    orders_.push_back({.drop = &end});
    has_orders_.store(true, std::memory_order_release);  // [orders.give] release; pairs with [orders.take]
  }
  ring();
}

void Worker::add_reader(ServerEnd& end) noexcept {
  const std::lock_guard<std::mutex> lock(orders_mutex_);
  orders_.push_back({.reader = &end});
  has_orders_.store(true, std::memory_order_release);  // [orders.give] release; pairs with [orders.take]
}

void Worker::take_orders() {
  {
    const std::lock_guard<std::mutex> lock(orders_mutex_);
    taken_.swap(orders_);
    has_orders_.store(false, std::memory_order_relaxed);  // relaxed: under the mutex
  }
  const bool few = channels() <= kIdlePolls;
  for (Order& order : taken_) {
    if (order.add != nullptr) {
      const std::size_t place = place_of(order.add->lane);
      order.add->leases = &leases_[place];
      order.add->lone_work = &lone_works_[place];
      resume_stream(*order.add);
      active_.push_back(std::move(order.add));
    } else if (order.reader != nullptr) {
      touch_pages_.add(*order.reader);
    } else if (!try_drop_channels(*order.drop)) {
      const std::lock_guard<std::mutex> lock(orders_mutex_);
      orders_.push_back({.drop = order.drop});             // reserved
      has_orders_.store(true, std::memory_order_relaxed);  // relaxed: this thread reads it
    }
  }
  taken_.clear();
  wake_waiters();
  if (few && channels() > kIdlePolls) activate_all();  // their clients do not set hints yet
  publish_crowded();
}

// Wakes some of those who wait for keys that were changed. What is left counts as an order, so that nothing else tests for it.
// While there are requests, wakes and what is woken take about a tenth of one cpu's time at most: clients that sleep in great
// numbers, and sleep again at once, delay no other client for long.
void Worker::wake_waiters() noexcept {
  constexpr std::int64_t kPause = 9;
  constexpr std::int64_t kWokenNs = 15'000;  // what a thread takes to wake, read a key and sleep again
  bool some = false;
  for (const std::uint32_t lane : lanes_) some = some || around_.table->shard(lane).wait_groups().is_due();
  if (!some) return;
  if (const std::int64_t begin = monotonic_ns(); begin >= wake_at_ns_) {
    some = false;
    int woken = 0;
    for (const std::uint32_t lane : lanes_) some = around_.table->shard(lane).wait_groups().wake(woken) || some;
    const std::int64_t end = monotonic_ns();
    wake_at_ns_ = end + kPause * (end - begin + woken * kWokenNs);
  }
  if (some) has_orders_.store(true, std::memory_order_relaxed);  // relaxed: this thread reads it
}

// Of one of its lanes, among them.
std::size_t Worker::place_of(std::uint32_t lane) const noexcept {
  return static_cast<std::size_t>(std::ranges::find(lanes_, lane) - lanes_.begin());
}

// Charges the stream of a channel whose server died in mid-stream to the quota.
void Worker::resume_stream(ServerChannel& channel) noexcept {
  ServerChannel::Stream& stream = channel.stream;
  const bool is_charged = stream.entry != 0 || (stream.held && facts_of(stream.op).values != 0);
  if (stream.op == Op::kPadding || !is_charged) return;
  stream.charged = stream.total();
  around_.streams->charge(channel.end->streamed, stream.charged);
}

void Worker::run() {
  accept_nudges();
  around_.line->cpu.store(static_cast<std::uint32_t>(::sched_getcpu()), std::memory_order_relaxed);  // relaxed: a hint
  std::int64_t idle_since = 0;
  unsigned idle_polls = 0;
  for (;;) {
    // [orders.take] acquire; pairs with [orders.give]
    if (has_orders_.load(std::memory_order_acquire)) take_orders();
    // Checked in every round: clients that write without a pause must not keep the server from stopping.
    // [worker.stopping] acquire; pairs with [worker.stop]
    if (stopping_.load(std::memory_order_acquire)) break;
    if (sweep()) {
      if (idle_since != 0) spin_.observe(monotonic_ns() - idle_since);
      idle_since = 0;
      idle_polls = 0;
      // While the worker is busy, lanes without writes are swept, too: a later clear would wait for them.
      if (++busy_sweeps_ % kSweepsPerReclaim == 0) reclaim(kBucketsWhenBusy);
      continue;
    }
    // At first only polls: reading the clock and other idle work would delay the next request.
    if (++idle_polls % kPollsPerClock != 0 && wait_a_moment(idle_polls)) continue;
    if (reclaim(kBucketsWhenIdle)) continue;
    const std::int64_t now = monotonic_ns();
    if (idle_since == 0) idle_since = now;
    if (now - idle_since >= spin_.budget_ns() || !wait_a_moment(idle_polls)) {
      wake_at_ns_ = 0;
      wait_for_work();
      spin_.observe(monotonic_ns() - idle_since);
      idle_since = 0;
    }
  }
  take_orders();
  activate_all();
  for (const auto& channel : active_) {
    drain(*channel, true);
    // A client that has withdrawn its request leaves it unfinished.
    Dispatcher(*around_.table, *around_.streams, around_.pieces, *channel).drop_long_work();
  }
  ended_.store(true, std::memory_order_relaxed);  // relaxed: see join_nudged()
}

// Between two polls. In a crowd, and always after a while, clients that could send a request may be waiting for this cpu.
// False: yielding would take a time slice, so it is better to sleep now.
bool Worker::wait_a_moment(unsigned polls) noexcept {
  constexpr unsigned kAlone =
      32;  // about a microsecond: an answer and the next request take that long between two cpus
  // relaxed: this thread's own
  if (polls > kAlone || around_.line->crowded.load(std::memory_order_relaxed) != 0) {
    return yields_.quick() && yields_.yield();
  }
  cpu_relax();
  return true;
}

void Worker::wait_for_work() {
  park_.prepare();
  if (sweep_all() || clear_waits_ || reclaim(kBucketsWhenIdle) ||
      has_orders_.load(std::memory_order_acquire) ||  // [orders.take] acquire; pairs with [orders.give]
      stopping_.load(std::memory_order_acquire)) {    // [worker.stopping] acquire; pairs with [worker.stop]
    park_.stay_awake();
    return;
  }
  add_to(stats().parks, 1);
  const std::int64_t patience = patience_ns(kParkPatienceNs);
  const std::int64_t to_next_end = ns_to_next_end();
  const WaitOutcome outcome = park_.sleep(std::min(patience, to_next_end));
  around_.line->cpu.store(static_cast<std::uint32_t>(::sched_getcpu()), std::memory_order_relaxed);  // relaxed: a hint
  const bool found = sweep_all();
  if (outcome != WaitOutcome::kTimedOut) return;
  // Still parked: a client that published before this sweep has rung, or is about to.
  if (found && !park_.rung() && patience < to_next_end) add_to(stats().timeout_rescues, 1);
  park_.stay_awake();
}

// How long this worker may sleep while no key lapses. A sleep that this ends does not count as a rescue.
std::int64_t Worker::ns_to_next_end() const noexcept {
  std::uint64_t end = kNeverEnds;
  for (const std::uint32_t lane : lanes_) end = std::min(end, around_.table->shard(lane).next_end());
  if (end == kNeverEnds) return kNoTimeout;
  constexpr std::uint64_t kMostUs = 1'000'000'000'000;
  const std::uint64_t now = monotonic_us();
  const std::uint64_t left = std::min(end - std::min(end, now), kMostUs);
  return std::max(static_cast<std::int64_t>(left) * 1000, kRestFromKeysNs);
}

// Sweeps some buckets that a clear left, or continues growth or shrinking. False: there is none of it.
bool Worker::reclaim(unsigned buckets) {
  bool some = false;
  for (std::size_t place = 0; place < lanes_.size(); ++place) {
    ShardWriter& shard = around_.table->shard(lanes_[place]);
    Dispatcher::drop_lone_work_if_withdrawn(lone_works_[place], shard, *around_.streams);  // others may wait for it
    shard.begin_request();
    some = shard.reclaim(buckets) || some;
  }
  return some;
}

// A sweep over every channel, the idle ones too.
bool Worker::sweep_all() {
  for (std::size_t i = idle_.size(); i-- > 0;) {
    if (idle_[i].requests.poll()) activate(i);
  }
  return sweep();
}

void Worker::activate(std::size_t index) {
  active_.push_back(idle_.take(index));
  end_idle_time(*active_.back());
  publish_crowded();
}

void Worker::activate_all() {
  while (!idle_.empty()) activate(idle_.size() - 1);
}

// A channel that had a request, or is to be polled in each sweep again.
void Worker::end_idle_time(ServerChannel& channel) noexcept {
  channel.idle_sweeps = 0;
  if (!std::exchange(channel.sets_hints, false)) return;
  end_idling(*channel.control);
}

// May a channel that had no request for kIdleSweeps leave the sweep?
bool Worker::may_leave(ServerChannel& channel) noexcept {
  if (channels() <= kIdlePolls) return true;
  if (!channel.sets_hints) {
    channel.sets_hints = true;
    begin_idling(*channel.control);
  }
  return channel.idle_sweeps > 2 * kIdleSweeps;
}

void Worker::poll_idle() {
  const auto activate_if_ready = [this](ServerChannel& channel) {
    if (channel.requests.poll()) activate(channel.idle.index);
  };
  idle_.take_hints(*around_.hints);
  for (std::size_t polls = 0; polls < kHintedPolls; ++polls) {
    ServerChannel* const channel = idle_.next_hinted();
    if (channel == nullptr) break;
    activate_if_ready(*channel);
  }
  for (std::size_t polls = 0; polls < kIdlePolls && !idle_.empty(); ++polls) activate_if_ready(idle_.next_in_turn());
}

// Publishes to waiting clients whether spinning is useful: not while clients and this worker outnumber the cpus.
void Worker::publish_crowded() noexcept {
  const std::uint32_t crowded = active_.size() + 1 > cpus_ ? 1 : 0;
  // relaxed, both: a hint; written only when it changes, so that readers keep their copy of the line
  if (around_.line->crowded.load(std::memory_order_relaxed) != crowded) {
    around_.line->crowded.store(crowded, std::memory_order_relaxed);
  }
}

bool Worker::sweep() {
  served_.clear();
  clear_waits_ = false;
  bool debts = false;
  // First, so that channels found here are served in this sweep.
  if (!idle_.empty()) poll_idle();
  for (std::size_t i = 0; i < active_.size();) {
    ServerChannel& channel = *active_[i];
    if (channel.debt >= kShareBytes) [[unlikely]] {
      channel.debt -= kShareBytes;
      debts = true;
    } else if (serve(channel)) {
      if (channel.idle_sweeps != 0) end_idle_time(channel);
      served_.push_back(&channel);
    } else if (++channel.idle_sweeps > kIdleSweeps && may_leave(channel)) [[unlikely]] {
      idle_.add(std::move(active_[i]));
      active_[i] = std::move(active_.back());
      active_.pop_back();
      publish_crowded();
      continue;
    }
    ++i;
  }
  if (served_.empty()) return debts;  // no other channel has work: debts are paid off at once
  fence_before_waking();
  for (ServerChannel* channel : served_) wake(*channel);
  return true;
}

// Takes one batch of a channel. False: there was none.
bool Worker::serve(ServerChannel& channel) {
  if (!channel.requests.poll()) return false;
  // relaxed: this worker's own store, or seen a batch later
  if (channel.end->poisoned.load(std::memory_order_relaxed)) return false;
  Dispatcher dispatcher(*around_.table, *around_.streams, around_.pieces, channel);
  const std::uint64_t first_request = channel.requests.position();
  const std::uint64_t first_answer = channel.answers.head();
  const std::uint64_t largest = max_record_bytes(channel.requests.view().capacity());

  // Copy and validate; prefetch what the requests will access.
  std::size_t count = 0;
  std::size_t used = 0;
  std::uint64_t answer_room = channel.answer_room();
  bool malformed = false;
  do {
    Item& item = items_[count];
    std::uint64_t size = 0;
    const DecodeOutcome outcome = decode_request(channel.requests.record(), std::min(largest, channel.requests.limit()),
                                                 std::span(space_).subspan(used), item.request, size);
    if (outcome == DecodeOutcome::kNoSpace) break;
    if (outcome == DecodeOutcome::kMalformed || !dispatcher.prepare(item.request, item.key)) {
      malformed = true;
      break;
    }
    if (dispatcher.must_wait(item.request)) [[unlikely]] {
      clear_waits_ = true;
      break;
    }
    if (item.request.flags != 0) {  // it is answered, or may be
      const AnswerForm form = facts_of(item.request.op).answer;
      const bool small = form != AnswerForm::kPiece && form != AnswerForm::kInner;
      // Twice, as padding may come before it.
      const std::uint64_t needed = 2 * (small ? kSmallAnswerBytes : largest);
      if (answer_room < needed) break;
      answer_room -= needed;
    }
    item.request.position = channel.requests.position();
    channel.requests.advance(size);
    item.request.next_position = channel.requests.position();
    used += static_cast<std::size_t>(size - kRecordHeadBytes);
    ++count;
    // Whether the next request must wait can depend on this one: it is decoded after this one has been applied.
    if (dispatcher.affects_waiting(item.request)) [[unlikely]]
      break;
  } while (count < kBatch && used < kBatchBytes && channel.requests.poll());
  if (count == 0 && !malformed) return false;

  std::size_t applied = 0;
  while (applied < count) {
    const Applied outcome = dispatcher.apply(items_[applied].request, items_[applied].key);
    if (outcome != Applied::kDone) [[unlikely]] {
      malformed = outcome == Applied::kMalformed;
      if (!malformed) channel.requests.rewind(items_[applied].request.position);
      break;
    }
    ++applied;
  }
  const BatchCounts& counts = dispatcher.counts();
  LaneStats& lane = around_.table->header().lane_stats[channel.lane];
  add_to(lane.puts, counts.puts);
  add_to(lane.erases, counts.erases);
  add_to(lane.gets_by_ring, counts.gets);
  add_to(lane.refused, counts.refused);
  if (counts.gets != 0) [[unlikely]] {
    add_to(lane.hits, counts.hits);
    add_to(lane.misses, counts.gets - counts.hits);
  }
  if (counts.clears != 0) [[unlikely]]
    ring_others();  // they have buckets to reclaim
  if (dispatcher.evicts()) [[unlikely]]
    take_notes(channel.lane);
  if (applied != 0) channel.consumed = items_[applied - 1].request.next_position;
  // [consumed.publish] release; pairs with [consumed.load]: the requests are done, and their bytes may be written again
  channel.control->requests_consumed.store(channel.consumed, std::memory_order_release);
  const std::uint64_t bytes =
      channel.requests.position() - first_request + (channel.answers.head() - first_answer) + channel.debt;
  channel.debt = kGuarded ? bytes - std::min(bytes, kShareBytes) : 0;
  if (malformed) poison(channel);
  return true;
}

// Out of line: serve() is shorter and keeps more in registers without it.
[[gnu::noinline]] void Worker::take_notes(std::uint32_t lane) noexcept {
  touch_pages_.take_notes(around_.table->shard(lane), lane);
}

// Serves the requests that the channel's ring held at the first call, and wakes the client. For a client that continues to
// write it ends after one ring. False: a clear must wait until other workers have swept their buckets.
bool Worker::drain(ServerChannel& channel, bool answers_are_read) {
  bool finished = false;
  do {
    finished = drain_a_batch(channel, answers_are_read);
    // A clear that must wait for buckets of this worker is served when they are swept.
  } while (!finished && (!clear_waits_ || reclaim(kBucketsWhenIdle)));
  fence_before_waking();
  wake(channel);
  return finished;
}

// The same in steps: the requests may be long work, for which other clients do not wait. True: nothing is left to be served.
bool Worker::drain_a_batch(ServerChannel& channel, bool answers_are_read) {
  if (!channel.drain_end) channel.drain_end = channel.requests.position() + channel.requests.view().capacity();
  if (channel.requests.position() >= *channel.drain_end) return true;
  // Answers that no client reads need no room: later writes must not wait for it.
  if (!answers_are_read) channel.answers_consumed = channel.answers.head();
  clear_waits_ = false;
  return !serve(channel) && !clear_waits_;
}

// After fence_before_waking(): wakes the client if it sleeps until an answer or room in the ring.
void Worker::wake(ServerChannel& channel) noexcept {
  wake_client(*channel.control, channel.answered, channel.consumed);
  channel.answered = false;
}

void Worker::ring_others() noexcept {
  for (std::uint32_t i = 0; i < around_.bells.size(); ++i) {
    if (i != number_) futex_add_and_wake(around_.bells[i].rings);
  }
}

void Worker::poison(ServerChannel& channel) {
  if (channel.end->poisoned.exchange(true, std::memory_order_relaxed))
    return;  // relaxed: the bell's futex call orders it
  add_to(around_.table->header().lane_stats[channel.lane].poisoned, 1);
  channel.end->close();
  futex_add_and_wake(*around_.service_bell);
}

// False: it is not drained yet.
bool Worker::try_drop_channels(ServerEnd& end) {
  bool drained = true;
  while (const ServerChannel* idle = idle_.find(end)) activate(idle->idle.index);
  for (std::size_t i = 0; i < active_.size();) {
    ServerChannel& channel = *active_[i];
    if (channel.end != &end) {
      ++i;
      continue;
    }
    const auto drain_a_share = [&] {
      while (channel.debt < kShareBytes) {
        const std::uint64_t before = channel.requests.position();
        if (drain_a_batch(channel, false)) return true;
        if (channel.requests.position() == before) break;  // long work, or it waits
      }
      return false;
    };
    // At the end of this worker nobody waits for its next step.
    // relaxed: seen a step later
    const bool at_once = stopping_.load(std::memory_order_relaxed);
    if (!(at_once ? drain(channel, false) : drain_a_share())) {
      drained = false;
      ++i;
      continue;
    }
    fence_before_waking();
    wake(channel);
    Dispatcher dispatcher(*around_.table, *around_.streams, around_.pieces, channel);
    dispatcher.drop_stream();
    dispatcher.drop_leases();
    if (!channel.watches.all().empty()) {
      end.close();
      dispatcher.drop_watches();
    }
    active_[i] = std::move(active_.back());
    active_.pop_back();
  }
  if (!drained) return false;
  touch_pages_.remove(end);
  // [end.let-go] release; pairs with [end.free]: this worker does not access it any more
  end.holders.fetch_sub(1, std::memory_order_release);
  futex_add_and_wake(*around_.service_bell);
  return true;
}

}  // namespace hostmap
