// The hand of the eviction: a worker whose memory is full, a reader that notes what it finds, keys that end, and kills.
//
// The rules (src/table/write/evict.cpp, src/server/run/touch_pages.hpp, src/server/run/dispatch.cpp)
//   worker  H1 a put writes its block, seals its intent, swings the cell, and raises the version; then the old block is free, the
//           request counts as done, and the intent ends
//           H2 while no block is free, the hand visits one cell after the other: a touched one loses its mark, any other is emptied:
//           the cell, the version, and then the block is free
//           H3 never the key of the request that needs the room: a change that depends on the value has found it
//           H4 nothing is evicted from the seal of an intent to its end
//           H5 a request that is put off, so that others are served, decides anew when it is tried again
//           H6 with the policy `expiring` only an entry goes whose end is a moment; the cell's mark is not enough, since a key that
//           stays again keeps it
//           H7 a note is taken out of the page, and then a cell that leads to an entry is marked, and no other
//   reader  as in ends_model.cpp; of a hit whose cell is not touched it stores a note in its page
//   kill    a sealed request is applied if its cell is the new one. Otherwise it is repeated. What no cell leads to is free, the hand
//           begins anew, and all readers
//
// Explored: every interleaving of the worker's stores, the reader's loads, ends that pass, and kills, in program order; requests of
// one client that are put off, with those of another one in between.
//
// Checked: a hit's value was the key's value at some moment of the read, and a miss: it was absent at one; a cell leads to an entry
// of its key; a conditional change is applied only to a key that is there; no request is applied twice; a key that was touched
// since the hand's last visit, and with `expiring` one that stays, is not evicted; a put finds room in two rounds of the hand if any
// other key may go.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "cases.hpp"
#include "search.hpp"

namespace hostmap::models {
namespace {

using Byte = std::uint8_t;

struct Rules {
  bool version_before_free = true;       // H2
  bool takes_marks_away = true;          // H2
  bool honours_marks = true;             // H2
  bool spares_the_request = true;        // H3
  bool only_between_intents = true;      // H4
  bool decides_again = true;             // H5
  bool examines_the_end = true;          // H6
  bool marks_only_what_is_there = true;  // H7
};

constexpr std::size_t kKeys = 3;
constexpr std::size_t kBlocks = 2;
constexpr Byte kRounds = 2 * kKeys + 1;  // visits of the hand, at most, until it has found a victim

// Of a cell: {touched:1 | has an end:1 | number of the block + 1, 0: none}.
constexpr Byte kTouched = 1;
constexpr Byte kSaysEnd = 2;
constexpr unsigned kBlockShift = 2;

enum End : Byte { kNever, kLater, kPast };
enum Kind : Byte { kNone, kPut, kReplace, kErase, kPersist, kExpire };

// A store of the worker: where, and what. The first ones are words of the table; the reader loads them.
enum Place : Byte {
  kHeader,  // of the key that is read
  kCells,
  kKeyOf = kCells + kKeys,
  kValueOf = kKeyOf + kBlocks,
  kEndOf = kValueOf + kBlocks,
  kPage = kEndOf + kBlocks,  // the reader's: the number of a key + 1
  kSealed,                   // the intent: 0, or the new cell of the request's key
  kDone,                     // the request counts as done
  kWords,
  kFree,  // in the worker's own memory: the block that is free from here on
};
struct Write {
  Byte place;
  Byte value;
};
constexpr std::size_t kMostWrites = 12;

struct Moment {
  std::array<Byte, kWords> words;
  std::array<Byte, kBlocks> free;
  Byte hand;
  std::array<Byte, kKeys> used;  // beside the system: noted since the hand's last visit
  Byte next_value;
  Byte requests;
  Byte kills;
  // The request in progress.
  Byte kind;
  Byte key;
  Byte decided;  // in this attempt it has found its key as it must be
  Byte put_off;
  Byte visits;   // of the hand, in vain
  Byte applied;  // beside the system
  Byte count;    // of `writes`: those that are left, the next one last
  std::array<Byte, 2 * kMostWrites> writes;
  // The reader of key 0.
  Byte step;
  Byte header;
  Byte cell;
  Byte end;
  Byte value;
  std::array<Byte, 2> padding;
  std::uint32_t seen;  // what was current since the read began: bit 0 absent, bit v value v
};

Byte cell_of(int block, Byte end, bool touched) {
  return static_cast<Byte>((block + 1) << kBlockShift | (end != kNever ? kSaysEnd : 0) | (touched ? kTouched : 0));
}
int block_of(Byte cell) { return (cell >> kBlockShift) - 1; }
Byte at(const Moment& moment, Byte base, int index) { return moment.words[static_cast<std::size_t>(base + index)]; }

// The value of a key at this moment; 0: absent.
Byte content(const Moment& moment, int key) {
  const int block = block_of(at(moment, kCells, key));
  if (block < 0 || at(moment, kEndOf, block) == kPast) return 0;
  return at(moment, kValueOf, block);
}

class Explorer {
 public:
  // With ends there are many more states, so a quick search has no kill.
  Explorer(const Rules& rules, bool expiring, Depth requests, Effort effort)
      : rules_(rules),
        expiring_(expiring),
        most_requests_(requests.at(effort)),
        most_kills_(expiring ? Depth{0, 1}.at(effort) : 1) {}

  Verdict explore() {
    Moment start{};
    start.free.fill(1);
    start.next_value = 1;
    search_.run(start, [this](const Moment& now) {
      check(now);
      pass_ends(now);
      kill(now);
      work(now);
      read(now);
    });
    return verdict_of(search_, lines);
  }

 private:
  static std::vector<std::string> lines(const std::vector<Moment>& way) {
    std::vector<std::string> all;
    for (const Moment& moment : way) {
      std::string line = "request " + std::to_string(moment.kind) + " of key " + std::to_string(moment.key) + ", words";
      for (const Byte word : moment.words) line += " " + std::to_string(word);
      line += ", hand " + std::to_string(moment.hand) + ", reader at " + std::to_string(moment.step) + " with cell " +
              std::to_string(moment.cell);
      all.push_back(line);
    }
    return all;
  }

  void add(Moment next) {
    if (next.step != 0) next.seen |= std::uint32_t{1} << content(next, 0);
    search_.add(next);
  }

  void check(const Moment& now) {
    for (int key = 0; key < static_cast<int>(kKeys); ++key) {
      const Byte cell = at(now, kCells, key);
      const int block = block_of(cell);
      if (cell != 0 && (block < 0 || at(now, kKeyOf, block) != key)) {
        return search_.fail(now, "a cell leads to no entry of its key");
      }
    }
  }

  void pass_ends(const Moment& now) {
    for (int block = 0; block < static_cast<int>(kBlocks); ++block) {
      if (at(now, kEndOf, block) != kLater) continue;
      Moment next = now;
      next.words[static_cast<std::size_t>(kEndOf + block)] = kPast;
      add(next);
    }
  }

  void kill(const Moment& now) {
    if (now.kills == most_kills_) return;
    Moment next = now;
    ++next.kills;
    const bool applied =
        next.words[kSealed] != 0 && (at(now, kCells, now.key) & ~kTouched) == (next.words[kSealed] & ~kTouched);
    if (applied || next.words[kDone] != 0) finish(next);
    next.words[kSealed] = next.words[kDone] = 0;
    next.free.fill(1);
    for (int key = 0; key < static_cast<int>(kKeys); ++key) {
      if (const int block = block_of(at(now, kCells, key)); block >= 0) next.free[static_cast<std::size_t>(block)] = 0;
    }
    for (std::size_t key = 0; key < kKeys; ++key) next.used[key] = now.words[kCells + key] & kTouched;
    next.hand = next.decided = next.put_off = next.visits = next.count = 0;
    next.writes = {};
    begin_read(next);
    add(next);
  }
  static void finish(Moment& next) {
    next.kind = kNone;
    next.key = next.decided = next.put_off = next.visits = next.applied = 0;
  }

  // --- The worker

  void begin(Moment next, const std::vector<Write>& writes) {
    next.count = static_cast<Byte>(writes.size());
    for (std::size_t i = 0; i < writes.size(); ++i) {
      next.writes[2 * i] = writes[writes.size() - 1 - i].place;
      next.writes[2 * i + 1] = writes[writes.size() - 1 - i].value;
    }
    add(next);
  }

  void store(Moment next) {
    --next.count;
    const Byte place = next.writes[2U * next.count];
    const Byte value = next.writes[2U * next.count + 1];
    next.writes[2U * next.count] = next.writes[2U * next.count + 1] = 0;
    if (place == kFree) {
      next.free[value] = 1;
      return add(next);
    }
    next.words[place] = value;
    if (next.words[kSealed] != 0 && place == kCells + next.key && value == next.words[kSealed]) {
      if (next.applied != 0) return search_.fail(next, "a request is applied twice");
      next.applied = 1;
    }
    if (place == kSealed && value == 0 && next.words[kDone] != 0) {  // the end of the request
      next.words[kDone] = 0;
      finish(next);
    }
    add(next);
  }

  static Byte raised(const Moment& now) { return static_cast<Byte>(now.words[kHeader] + 1); }

  // The stores that empty a cell.
  void empty(const Moment& now, int key, std::vector<Write>& writes) const {
    const auto block = static_cast<Byte>(block_of(at(now, kCells, key)));
    writes.push_back({static_cast<Byte>(kCells + key), 0});
    if (!rules_.version_before_free) writes.push_back({kFree, block});
    if (key == 0 && rules_.version_before_free) writes.push_back({kHeader, raised(now)});
    if (rules_.version_before_free) writes.push_back({kFree, block});
  }

  bool may_go(const Moment& now, int key, bool spares) const {
    const Byte cell = at(now, kCells, key);
    if (cell == 0 || (spares && key == now.key)) return false;
    if (!expiring_) return true;
    return (cell & kSaysEnd) != 0 && (!rules_.examines_the_end || at(now, kEndOf, block_of(cell)) != kNever);
  }

  // One visit of the hand. `spares`: not the key of the request.
  void visit(Moment next, bool spares) {
    std::vector<Write> writes;
    const int key = next.hand;
    next.hand = static_cast<Byte>((next.hand + 1) % kKeys);
    const Byte cell = at(next, kCells, key);
    const bool keeps_mark = (cell & kTouched) != 0 && rules_.honours_marks;
    const bool goes = !keeps_mark && may_go(next, key, spares);
    if (keeps_mark && rules_.takes_marks_away) {
      writes.push_back({static_cast<Byte>(kCells + key), static_cast<Byte>(cell & ~kTouched)});
    }
    if (goes) {
      if (next.used[static_cast<std::size_t>(key)] != 0) {
        return search_.fail(next, "a key is evicted that was read since the hand's last visit");
      }
      if (expiring_ && at(next, kEndOf, block_of(cell)) == kNever) {
        return search_.fail(next, "a key is evicted that stays");
      }
      empty(next, key, writes);
    }
    if (rules_.takes_marks_away || goes) next.used[static_cast<std::size_t>(key)] = 0;
    next.visits = static_cast<Byte>(goes ? 0 : next.visits + 1);
    begin(next, writes);
  }

  void work(const Moment& now) {
    if (now.count != 0) return store(now);
    if (now.words[kPage] != 0) take_note(now);
    if (now.kind == kNone) {
      collect(now);
      ask(now);
      if (free_block(now) < 0) ahead(now);
      return;
    }
    attempt(now);
    if (now.put_off != 0) between(now);
  }

  static int free_block(const Moment& now) {
    for (std::size_t block = 0; block < kBlocks; ++block) {
      if (now.free[block] != 0) return static_cast<int>(block);
    }
    return -1;
  }

  // Between two requests: while no block is free, so that the next put finds one.
  void ahead(const Moment& now) {
    if (now.visits > kRounds) return;
    visit(now, false);
  }

  void take_note(const Moment& now) {
    const int key = now.words[kPage] - 1;
    const Byte cell = at(now, kCells, key);
    Moment next = now;
    std::vector<Write> writes{{kPage, 0}};
    if (cell != 0 || !rules_.marks_only_what_is_there) {
      writes.push_back({static_cast<Byte>(kCells + key), static_cast<Byte>(cell | kTouched)});
      next.used[static_cast<std::size_t>(key)] = 1;
    }
    next.visits = 0;  // two rounds from here on
    begin(next, writes);
  }

  // The hand of expiry.
  void collect(const Moment& now) {
    for (int key = 0; key < static_cast<int>(kKeys); ++key) {
      const int block = block_of(at(now, kCells, key));
      if (block < 0 || at(now, kEndOf, block) != kPast) continue;
      Moment next = now;
      next.used[static_cast<std::size_t>(key)] = 0;
      std::vector<Write> writes;
      empty(now, key, writes);
      begin(next, writes);
    }
  }

  void ask(const Moment& now) {
    if (now.requests == most_requests_) return;
    for (const Kind kind : {kPut, kReplace, kErase}) {
      for (int key = 0; key < static_cast<int>(kKeys); ++key) {
        if (key == 2 && kind != kPut) continue;  // one that only takes room
        Moment next = now;
        ++next.requests;
        next.kind = kind;
        next.key = static_cast<Byte>(key);
        next.visits = 0;
        add(next);
      }
    }
    if (!expiring_) return;
    for (int key = 0; key < static_cast<int>(kKeys); ++key) change_end(now, key);
  }

  // Another request that needs no room. Its intent is left out: it is applied by one store.
  void change_end(const Moment& now, int key) {
    const Byte cell = at(now, kCells, key);
    const int block = block_of(cell);
    if (block < 0 || at(now, kEndOf, block) == kPast) return;
    Moment next = now;
    ++next.requests;
    const auto end_place = static_cast<Byte>(kEndOf + block);
    begin(next, {{end_place, kNever}});
    begin(next, {{static_cast<Byte>(kCells + key), static_cast<Byte>(cell | kSaysEnd)}, {end_place, kLater}});
  }

  // What the other client does while a request is put off: it erases a key, or changes its end.
  void between(const Moment& now) {
    if (now.requests == most_requests_) return;
    for (int key = 0; key < static_cast<int>(kKeys); ++key) {
      if (at(now, kCells, key) == 0) continue;
      Moment next = now;
      ++next.requests;
      next.used[static_cast<std::size_t>(key)] = 0;
      std::vector<Write> writes;
      empty(now, key, writes);
      begin(next, writes);
      if (expiring_) change_end(now, key);
    }
  }

  void attempt(const Moment& now) {
    Moment next = now;
    if (rules_.decides_again && next.put_off != 0) next.decided = 0;
    next.put_off = 0;
    const bool found = content(next, next.key) != 0;
    if (next.decided == 0) {
      if (next.kind != kPut && !found) {  // refused
        finish(next);
        return add(next);
      }
      next.decided = 1;
    }
    const int old = block_of(at(next, kCells, next.key));
    if (next.kind == kErase) {
      finish(next);
      next.used[now.key] = 0;
      std::vector<Write> writes;
      empty(now, now.key, writes);
      return begin(next, writes);
    }
    const int block = free_block(next);
    if (block < 0) return make_room(next);
    if (next.kind == kReplace && old < 0) {
      return search_.fail(next, "a conditional change succeeds for a key that is not there");
    }
    for (const End end : {kNever, kLater}) {
      if (end == kLater && !expiring_) continue;
      Moment put = next;
      put.free[static_cast<std::size_t>(block)] = 0;
      const Byte value = put.next_value++;
      // A change of a key counts as a use of it.
      const Byte cell = cell_of(block, end, old >= 0);
      put.used[put.key] = old >= 0 ? 1 : 0;
      std::vector<Write> writes{{static_cast<Byte>(kKeyOf + block), put.key},
                                {static_cast<Byte>(kValueOf + block), value},
                                {static_cast<Byte>(kEndOf + block), end},
                                {kSealed, cell},
                                {static_cast<Byte>(kCells + put.key), cell}};
      if (old >= 0) {
        if (put.key == 0) writes.push_back({kHeader, raised(put)});
        writes.push_back({kFree, static_cast<Byte>(old)});
      }
      const std::vector<Write> end_of_intent{{kDone, 1}, {kSealed, 0}};
      if (!rules_.only_between_intents) {
        // Broken: after the change, and before its request counts as done, the key goes.
        std::vector<Write> early = writes;
        early.push_back({static_cast<Byte>(kCells + put.key), 0});
        early.insert(early.end(), end_of_intent.begin(), end_of_intent.end());
        early.push_back({kFree, static_cast<Byte>(block)});
        begin(put, early);
      }
      writes.insert(writes.end(), end_of_intent.begin(), end_of_intent.end());
      begin(put, writes);
    }
  }

  void make_room(Moment next) {
    bool some = false;
    for (int key = 0; key < static_cast<int>(kKeys); ++key) some = some || may_go(next, key, rules_.spares_the_request);
    if (!some) {  // refused: there is no memory
      finish(next);
      return add(next);
    }
    if (next.visits > kRounds) return search_.fail(next, "a put finds no room although a key may go");
    visit(next, rules_.spares_the_request);
    next.put_off = 1;
    visit(next, rules_.spares_the_request);
  }

  // --- The reader

  static void begin_read(Moment& next) {
    next.step = next.header = next.cell = next.end = next.value = 0;
    next.seen = 0;
  }
  void again(Moment next) {
    begin_read(next);
    search_.add(next);
  }
  void finish_read(const Moment& now, Byte value) {
    Moment next = now;
    next.seen |= std::uint32_t{1} << content(next, 0);
    if ((next.seen >> value & 1) == 0) {
      return search_.fail(next, value == 0 ? "a miss of a key that was there all the time"
                                           : "a hit of a value that was not there at any time");
    }
    if (value != 0 && (now.cell & kTouched) == 0) next.words[kPage] = 1;
    again(next);
  }

  void read(const Moment& now) {
    Moment next = now;
    const int block = block_of(now.cell);
    switch (now.step) {
      case 0:
        next.header = now.words[kHeader];
        next.step = 1;
        return add(next);
      case 1:
        next.cell = at(now, kCells, 0);
        next.step = block_of(next.cell) < 0 ? 6 : 2;
        return add(next);
      case 2:
        next.end = at(now, kEndOf, block);
        next.step = at(now, kKeyOf, block) != 0 ? 6 : next.end == kPast ? 4 : 3;
        return add(next);
      case 3:
        next.value = at(now, kValueOf, block);
        next.step = 7;
        return add(next);
      case 4:
        if (at(now, kEndOf, block) != now.end) return again(next);
        next.step = 5;
        return add(next);
      case 5:
        if ((at(now, kCells, 0) & ~kTouched) != (now.cell & ~kTouched)) return again(next);
        next.step = 6;
        return add(next);
      case 6:
        if (now.words[kHeader] != now.header) return again(next);
        return finish_read(now, 0);
      default:
        if (now.words[kHeader] != now.header) return again(next);
        return finish_read(now, now.value);
    }
  }

  Rules rules_;
  bool expiring_;
  int most_requests_;
  int most_kills_;
  Search<Moment> search_;
};

Case make_case(const char* name, const Rules& rules, bool expiring, Depth requests, bool holds = false) {
  return {holds, name, [=](Effort effort) { return Explorer(rules, expiring, requests, effort).explore(); }};
}

std::vector<Case> cases() {
  const Depth few{4, 5};
  const Depth fewer{3, 3};
  return {
      make_case("the policy clock", {}, false, few, true),
      make_case("the policy expiring", {}, true, fewer, true),
      make_case("the version is not raised before the block is free", {.version_before_free = false}, false, few),
      make_case("the hand does not take the marks away", {.takes_marks_away = false}, false, few),
      make_case("the hand does not honour the marks", {.honours_marks = false}, false, few),
      make_case("the key of the request is evicted", {.spares_the_request = false}, false, few),
      make_case("a key is evicted before the intent has ended", {.only_between_intents = false}, false, few),
      make_case("a request that was put off does not decide anew", {.decides_again = false}, false, few),
      make_case("the cell's mark alone says that a key ends", {.examines_the_end = false}, true, fewer),
      make_case("a note marks a cell that is empty", {.marks_only_what_is_there = false}, false, few),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "hand", hostmap::models::cases()); }
