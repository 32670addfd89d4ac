// Histories of calls and their answers, written so that they outlive the client, and their check: is there an order of all
// operations on a key, consistent with their times, in which each answer is correct (linearizability)?
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <fcntl.h>
#include <iterator>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace hostmap::test {

inline constexpr std::int64_t kOpen =
    std::numeric_limits<std::int64_t>::max();  // it never ended: the change may or may not have been applied

// Of an operation: how long its key lives from then on, in ns.
inline constexpr std::int64_t kStays = kOpen;      // until it is erased
inline constexpr std::int64_t kKeeps = 0;          // as long as what it replaces would have
inline constexpr std::int64_t kKeepsIfThere = -1;  // the same, or until it is erased if it replaces nothing

// One operation on one key. A value is known by a number that no other write of the key has; 0: the key is absent.
struct Operation {
  enum Kind : std::uint32_t { kGet, kPut, kExchange, kIncrement, kFault, kClear, kErase, kExpire, kAppend };
  // CLOCK_MONOTONIC, by which server and readers decide whether a key has lapsed: no later reading, in any process, is before it.
  std::int64_t begin = 0;
  std::int64_t end = kOpen;
  std::uint32_t key = 0;
  Kind kind = kGet;
  std::uint64_t written = 0;  // put, exchange
  std::uint64_t seen = 0;     // get; exchange, erase: what it replaced; increment, append: the new number; fault: which
  std::int64_t ttl = kStays;  // put, exchange, expire

  bool keeps() const { return ttl == kKeeps || ttl == kKeepsIfThere; }
  bool ends() const { return ttl != kStays && !keeps(); }
  // The key ends at a moment from first_lapse() to last_lapse(): the client counts from some moment of its call, and rounds up
  // to whole microseconds.
  std::int64_t first_lapse() const { return begin + ttl; }
  std::int64_t last_lapse() const {
    constexpr std::int64_t kUs = 1000;
    return end == kOpen || ttl == kStays ? kOpen : (end + kUs - 1) / kUs * kUs + ttl;
  }
};

inline constexpr std::int64_t kBefore = std::numeric_limits<std::int64_t>::min();  // before all else

// Spans of time, each with a moment to be sorted by: of those whose moment is before another one, what is the latest bound?
class LatestBounds {
 public:
  void add(std::int64_t moment, std::int64_t bound) { spans_.emplace_back(moment, bound); }
  void sort() {
    std::sort(spans_.begin(), spans_.end());
    for (std::size_t i = 1; i < spans_.size(); ++i) {
      spans_[i].second = std::max(spans_[i].second, spans_[i - 1].second);
    }
  }
  std::int64_t before(std::int64_t moment) const {
    const auto after = std::lower_bound(spans_.begin(), spans_.end(), std::pair(moment, kBefore));
    return after == spans_.begin() ? kBefore : std::prev(after)->second;
  }

 private:
  std::vector<std::pair<std::int64_t, std::int64_t>> spans_;
};

// When may a key be absent? Not if the latest begin of a write that has ended is after the end of each clear that may have come.
class Absence {
 public:
  explicit Absence(const std::vector<Operation>& operations) {
    clears_.add(kBefore, kBefore);
    for (const Operation& op : operations) {
      if (op.ends()) clears_.add(op.first_lapse(), std::max(op.end, op.last_lapse()));
      if (op.kind == Operation::kClear || op.kind == Operation::kErase) clears_.add(op.begin, op.end);
      const bool writes = op.kind == Operation::kPut || op.kind == Operation::kExchange;
      if (writes && op.end != kOpen) writes_.add(op.end, op.begin);
    }
    clears_.sort();
    writes_.sort();
  }
  bool is_possible(const Operation& during) const { return writes_.before(during.begin) <= clears_.before(during.end); }

 private:
  LatestBounds clears_;
  LatestBounds writes_;
};

// Until when a value may be seen of which it is not known what it has replaced, and which has kept the end of that: until the
// latest of the ends that the key may have had then.
class KeptEnds {
 public:
  KeptEnds(const std::vector<Operation>& operations, const Absence& absence) {
    for (const Operation& op : operations) {
      const bool writes = op.kind == Operation::kPut || op.kind == Operation::kExchange;
      if (!writes && op.kind != Operation::kExpire) continue;
      const bool finds_none = op.ttl == kKeepsIfThere && absence.is_possible(op);
      if (op.keeps() && !finds_none) continue;
      givers_.push_back({op.begin, op.end, finds_none ? kOpen : op.last_lapse()});
      // What only may have found none does not certainly replace the end that was given before.
      if (op.end != kOpen && !finds_none) replaced_.add(op.end, op.begin);
    }
    replaced_.sort();
  }
  std::int64_t last_moment_of(const Operation& op) const {
    const std::int64_t replaced = replaced_.before(op.begin);
    std::int64_t latest = kBefore;
    for (const Giver& giver : givers_) {
      if (giver.begin < op.end && giver.end >= replaced) latest = std::max(latest, giver.last_moment);
    }
    return latest;
  }

 private:
  struct Giver {
    std::int64_t begin;
    std::int64_t end;
    std::int64_t last_moment;
  };
  std::vector<Giver> givers_;
  LatestBounds replaced_;
};

// Of each value that was written, until when it may be seen: to the end that its write, or that of the value which it replaced,
// has given it, or to one that a later expire may have given it.
inline std::map<std::uint64_t, std::int64_t> last_moments(const std::vector<Operation>& operations,
                                                          const Absence& absence) {
  std::map<std::uint64_t, std::int64_t> last;
  std::vector<const Operation*> expires;
  std::vector<const Operation*> writes;
  for (const Operation& op : operations) {
    if (op.kind == Operation::kExpire) expires.push_back(&op);
    if (op.kind == Operation::kPut || op.kind == Operation::kExchange) writes.push_back(&op);
  }
  const KeptEnds kept(operations, absence);
  const auto by_begin = [](const Operation* a, const Operation* b) { return a->begin < b->begin; };
  std::sort(expires.begin(), expires.end(), by_begin);
  std::map<std::uint64_t, const Operation*> write_of;
  for (const Operation* write : writes) write_of[write->written] = write;
  for (const Operation* write : writes) {
    // The chain of values that each have kept the end of the one before, back to one that is known.
    std::vector<const Operation*> chain;
    std::int64_t moment = kOpen;
    for (const Operation* at = write;;) {
      if (const auto known = last.find(at->written); known != last.end()) {
        moment = known->second;
        break;
      }
      chain.push_back(at);
      if (at->kind != Operation::kExchange || at->ttl != kKeeps) break;
      const auto before = at->end != kOpen ? write_of.find(at->seen) : write_of.end();
      if (before == write_of.end() || chain.size() > writes.size()) break;
      at = before->second;
    }
    for (; !chain.empty(); chain.pop_back()) {
      const Operation& op = *chain.back();
      if (!op.keeps()) {
        moment = op.last_lapse();
      } else if (op.kind == Operation::kPut) {
        moment = op.ttl == kKeepsIfThere && absence.is_possible(op) ? kOpen : kept.last_moment_of(op);
      }
      for (const Operation* expire : expires) {
        if (expire->begin > moment) break;
        if (expire->end >= op.begin) moment = std::max(moment, expire->last_lapse());
      }
      last[op.written] = moment;
    }
  }
  return last;
}

// Why the operations on a register cannot have happened one after the other; empty: they can. The operations are gets, puts
// and successful compare-exchanges and erases; each value is written once.
//
// Gibbons and Korach, "Testing Shared Memories" (1997): take each value's write and reads together. From the first end to
// the last begin of them, if they are in this order, the register must contain that value: two such zones must not overlap.
// A value whose operations all overlap in one moment can be assigned to it; that moment must not be wholly within another's
// zone.
//
// Clears write "absent" more than once. With them, absence has no zone, but each clear and each get that found nothing has
// its moment; and such a get needs a clear, or the beginning, after which no put has ended before the get. (Some impossible
// histories pass this check: each finding is an error, but not each error is found.) An erase is a clear of one value. What
// gives a key an end may clear it at some moment, from the earliest one that the end may be; and its value may not be seen
// by an operation that began after the latest one.
inline std::string contradiction_of_register(const std::vector<Operation>& operations) {
  struct Value {
    std::int64_t write_begin = kBefore;
    std::int64_t first_end = kOpen;
    std::int64_t last_begin = kBefore;
    bool written = false;
    bool seen = false;
    unsigned replaced = 0;
  };
  struct Zone {
    std::int64_t from;
    std::int64_t to;
    std::uint64_t value;
  };
  const bool is_cleared = std::any_of(operations.begin(), operations.end(), [](const Operation& op) {
    return op.kind == Operation::kClear || op.kind == Operation::kErase || op.ends();
  });
  std::map<std::uint64_t, Value> values;
  if (!is_cleared) {
    values[0].written = true;  // before all else
    values[0].first_end = kBefore;
  }
  const Absence absence(operations);
  const std::map<std::uint64_t, std::int64_t> lasts = last_moments(operations, absence);
  std::vector<Zone> moments;  // from the last begin to the first end
  std::vector<const Operation*> absences;
  const auto name = [](std::uint64_t value) { return "value " + std::to_string(value); };
  for (const Operation& op : operations) {
    const bool clears = op.kind == Operation::kClear || op.kind == Operation::kErase;
    if (clears && op.end != kOpen) moments.push_back({op.begin, op.end, 0});
    if (op.kind == Operation::kPut || op.kind == Operation::kExchange) {
      Value& value = values[op.written];
      if (value.written) return name(op.written) + " was written twice";
      value.written = true;
      value.write_begin = op.begin;
      value.first_end = std::min(value.first_end, op.end);
      value.last_begin = std::max(value.last_begin, op.begin);
    }
    const bool replaces = op.kind == Operation::kExchange || op.kind == Operation::kErase;
    const bool sees = (op.kind == Operation::kGet || replaces) && op.end != kOpen;
    if (sees && is_cleared && op.seen == 0) {
      moments.push_back({op.begin, op.end, 0});
      absences.push_back(&op);
    } else if (sees) {
      Value& value = values[op.seen];
      value.seen = true;
      value.first_end = std::min(value.first_end, op.end);
      value.last_begin = std::max(value.last_begin, op.begin);
      if (replaces && ++value.replaced > 1) return name(op.seen) + " was replaced twice";
      if (const auto last = lasts.find(op.seen); last != lasts.end() && op.begin >= last->second) {
        return name(op.seen) + " was seen after its end";
      }
    }
  }
  std::vector<Zone> zones;  // from the first end to the last begin
  for (const auto& [number, value] : values) {
    if (!value.written) return name(number) + " was seen, but never written";
    if (value.first_end < value.write_begin) return name(number) + " was seen before it was written";
    // A value that no client saw and whose call never ended may not have been written.
    if (number != 0 && !value.seen && value.first_end == kOpen) continue;
    if (value.first_end < value.last_begin) {
      zones.push_back({value.first_end, value.last_begin, number});
    } else {
      moments.push_back({value.last_begin, value.first_end, number});
    }
  }
  std::sort(zones.begin(), zones.end(), [](const Zone& a, const Zone& b) { return a.from < b.from; });
  for (std::size_t i = 1; i < zones.size(); ++i) {
    if (zones[i].from < zones[i - 1].to) {
      return name(zones[i - 1].value) + " and " + name(zones[i].value) + " must both be in the register at one time";
    }
  }
  for (const Zone& moment : moments) {
    auto at = std::upper_bound(zones.begin(), zones.end(), moment.from,
                               [](std::int64_t from, const Zone& zone) { return from < zone.from; });
    if (at == zones.begin()) continue;
    --at;
    if (at->from < moment.from && moment.to < at->to) {
      return name(moment.value) + " has its only moment while " + name(at->value) + " is in the register";
    }
  }
  for (const Operation* get : absences) {
    if (!absence.is_possible(*get)) return "nothing is seen, though a put has ended and no clear has come since";
  }
  return {};
}

// The same for a number that is only incremented, by 1; lost and duplicated increments are distinguished. `last`: its value
// at the end.
struct CounterVerdict {
  std::uint64_t lost = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t out_of_order = 0;
};
inline CounterVerdict verdict_of_counter(std::vector<Operation> operations, std::uint64_t last) {
  CounterVerdict verdict;
  const auto open =
      std::stable_partition(operations.begin(), operations.end(), [](const Operation& op) { return op.end != kOpen; });
  const auto ended = static_cast<std::uint64_t>(open - operations.begin());
  const std::uint64_t all = operations.size();
  operations.erase(open, operations.end());
  if (last < ended) verdict.lost += ended - last;
  if (last > all) verdict.duplicated += last - all;
  std::sort(operations.begin(), operations.end(), [](const auto& a, const auto& b) { return a.seen < b.seen; });
  std::int64_t latest_begin = std::numeric_limits<std::int64_t>::min();
  for (std::size_t i = 0; i < operations.size(); ++i) {
    if (i != 0 && operations[i].seen == operations[i - 1].seen) ++verdict.duplicated;
    if (operations[i].seen == 0 || operations[i].seen > last) ++verdict.lost;
    // An increment that got a lower number must not have begun after this one had ended.
    if (operations[i].end < latest_begin) ++verdict.out_of_order;
    latest_begin = std::max(latest_begin, operations[i].begin);
  }
  return verdict;
}

// The same where the map is cleared, which erases every number: for each interval between clears, the increments that lie
// wholly within it. (The number at its beginning is unknown, so a lost increment shows as a number that occurs twice.)
inline CounterVerdict verdict_of_cleared_counter(const std::vector<Operation>& operations,
                                                 std::vector<Operation> clears) {
  CounterVerdict verdict;
  std::sort(clears.begin(), clears.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::int64_t from = std::numeric_limits<std::int64_t>::min();
  for (std::size_t i = 0; i <= clears.size(); ++i) {
    const std::int64_t to = i == clears.size() ? kOpen : clears[i].begin;
    std::vector<Operation> within;
    std::copy_if(operations.begin(), operations.end(), std::back_inserter(within),
                 [&](const Operation& op) { return op.begin > from && op.end < to; });
    std::sort(within.begin(), within.end(), [](const auto& a, const auto& b) { return a.seen < b.seen; });
    std::int64_t latest_begin = std::numeric_limits<std::int64_t>::min();
    for (std::size_t n = 0; n < within.size(); ++n) {
      if (n != 0 && within[n].seen == within[n - 1].seen) ++verdict.duplicated;
      if (within[n].seen == 0) ++verdict.lost;
      if (within[n].end < latest_begin) ++verdict.out_of_order;
      latest_begin = std::max(latest_begin, within[n].begin);
    }
    if (i != clears.size()) from = std::max(from, clears[i].end);
  }
  return verdict;
}

// A mapped file of operations: other processes can read it after its writer was killed.
class History {
 public:
  static constexpr std::uint64_t kMost = 1'000'000;

  History(const std::string& path, bool create) {
    const int fd = ::open(path.c_str(), create ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) throw std::runtime_error("cannot open " + path);
    constexpr std::uint64_t kBytes = sizeof(Head) + kMost * sizeof(Operation);
    if (create && ::ftruncate(fd, static_cast<off_t>(kBytes)) != 0) throw std::runtime_error("cannot size " + path);
    void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (memory == MAP_FAILED) throw std::runtime_error("cannot map " + path);
    head_ = static_cast<Head*>(memory);
  }
  ~History() { ::munmap(head_, sizeof(Head) + kMost * sizeof(Operation)); }
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  bool full() const { return head_->count.load() + 128 > kMost; }
  // Records the operation as open, before the call is made. Returns its number for end().
  std::uint64_t begin(const Operation& operation) {
    const std::uint64_t number = head_->count.load();
    operations()[number] = operation;
    head_->count.store(number + 1);
    return number;
  }
  // `end` is stored last: a killed client's operation is ended wholly or not at all.
  void end(std::uint64_t number, std::int64_t now, std::uint64_t seen) {
    operations()[number].seen = seen;
    std::atomic_ref<std::int64_t>(operations()[number].end).store(now);
  }
  // It certainly did not happen (a compare-exchange that did not match).
  void forget(std::uint64_t number) {
    operations()[number].kind = Operation::kGet;
    operations()[number].ttl = kStays;
    operations()[number].end = kOpen;
  }
  // It has found the key absent, and so done nothing.
  void absent(std::uint64_t number, std::int64_t now) {
    operations()[number].kind = Operation::kGet;
    operations()[number].ttl = kStays;
    end(number, now, 0);
  }
  std::vector<Operation> read() const { return {operations(), operations() + head_->count.load()}; }

 private:
  struct Head {
    std::atomic<std::uint64_t> count;
    std::uint64_t reserved[7];
  };
  Operation* operations() const { return reinterpret_cast<Operation*>(head_ + 1); }
  Head* head_;
};

}  // namespace hostmap::test
