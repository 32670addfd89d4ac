// Keys that end: a reader beside a writer and a clock.
//
// The rules (src/table/read/reader.cpp, src/table/write/expiry.cpp)
//   reader  R1 the header; R2 the cell, which leads to an entry; R3 the entry's end; R4 the clock, after it. Not past: R5 the value;
//           R6 the header is unchanged: a hit. Past: R7 the same end again; R8 the same cell again; R9 the header is unchanged: a
//           miss. (No entry: R9 at once.)
//   writer  W1 what a new entry holds is stored before the cell leads there; W2 the cell, then the version; W3 then the old block is
//           free. W4 an end is replaced in place by one store; W5 before that the cell's bit shows that there is one. W6 what has
//           lapsed is absent for the writer, too: its end is not replaced. W7 the hand empties a cell whose end has passed
//
// Explored: every interleaving of the writer's stores, the reader's loads and the clock, in program order; ends that have
// passed when they are stored (a request that waited), that pass soon, and "never"; two blocks, each used again at once.
//
// Checked: a hit's value was the key's value, and not past its end, at some moment of the read; a miss: the key was absent, or
// past its end, at one. At every moment, as a kill may come: a linked entry that ends is one whose cell shows it.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "cases.hpp"
#include "search.hpp"

namespace hostmap::models {
namespace {

using Byte = std::uint8_t;

constexpr Byte kNever = 255;
constexpr Byte kLastTick = 4;
constexpr Byte kSaysEnd = 2;  // of a cell: {ends:1 at bit 1 | block number + 1, 0: empty, at bit 2}

struct Rules {
  bool end_again = true;         // R7
  bool cell_again = true;        // R8
  bool header_of_a_miss = true;  // R9
  bool header_of_a_hit = true;   // R6
  bool clock_after_end = true;   // R4
  bool version_after_cell = true;
  bool frees_after_version = true;
  bool says_before = true;   // W5
  bool lapsed_stays = true;  // W6
};

enum Place : Byte { kHeader, kCell, kEnd0, kEnd1, kValue0, kValue1, kFree0, kFree1, kPlaces };

struct Write {
  Byte place;
  Byte value;
  bool operator==(const Write&) const = default;
};
constexpr std::size_t kMostWrites = 6;

struct Moment {
  std::array<Byte, kPlaces> words;
  Byte clock;
  Byte requests;
  Byte next_value;
  Byte count;  // of the request in progress: stores that are left, at the end of the list
  std::array<Byte, 2 * kMostWrites> writes;
  // The reader:
  Byte step;
  Byte header;
  Byte cell;
  Byte end;
  Byte now;
  Byte value;
  std::array<Byte, 2> padding;
  std::uint32_t seen;  // what was current since the read began: bit 0 absent, bit v value v
};
static_assert(sizeof(Moment) == 36);

Byte cell_of(Byte block, Byte end) { return static_cast<Byte>((block + 1) << 2 | (end == kNever ? 0 : kSaysEnd)); }
int block_of(Byte cell) { return (cell >> 2) - 1; }

// What a look-up gives at this moment; 0: absent.
Byte content(const Moment& moment) {
  const int block = block_of(moment.words[kCell]);
  if (block < 0) return 0;
  const Byte end = moment.words[static_cast<std::size_t>(kEnd0 + block)];
  return end != kNever && moment.clock >= end ? Byte{0} : moment.words[static_cast<std::size_t>(kValue0 + block)];
}

class Explorer {
 public:
  Explorer(const Rules& rules, int requests) : rules_(rules), most_requests_(requests) {}

  Verdict explore() {
    Moment start{};
    start.words[kFree0] = start.words[kFree1] = 1;
    start.clock = 1;
    start.next_value = 1;
    search_.run(start, [this](const Moment& now) {
      check(now);
      tick(now);
      write(now);
      read(now);
    });
    return verdict_of(search_, [this](const std::vector<Moment>& way) { return lines(way); });
  }

 private:
  static std::vector<std::string> lines(const std::vector<Moment>& way) {
    std::vector<std::string> all;
    for (const Moment& moment : way) {
      std::string line = "clock " + std::to_string(moment.clock) + ", words";
      for (const Byte word : moment.words) line += " " + std::to_string(word);
      line += ", reader at " + std::to_string(moment.step) + " with end " + std::to_string(moment.end) + " and clock " +
              std::to_string(moment.now);
      all.push_back(line);
    }
    return all;
  }

  void add(Moment next) {
    if (next.step != 0) next.seen |= std::uint32_t{1} << content(next);
    search_.add(next);
  }

  void check(const Moment& now) {
    const int block = block_of(now.words[kCell]);
    if (block < 0) return;
    const bool ends = now.words[static_cast<std::size_t>(kEnd0 + block)] != kNever;
    if (ends && (now.words[kCell] & kSaysEnd) == 0) search_.fail(now, "an entry ends, and its cell does not say so");
  }

  void tick(Moment next) {
    if (next.clock == kLastTick) return;
    ++next.clock;
    add(next);
  }

  // --- The writer

  void begin(Moment next, const std::vector<Write>& writes) {
    ++next.requests;
    next.count = static_cast<Byte>(writes.size());
    for (std::size_t i = 0; i < writes.size(); ++i) {
      next.writes[2 * i] = writes[writes.size() - 1 - i].place;
      next.writes[2 * i + 1] = writes[writes.size() - 1 - i].value;
    }
    add(next);
  }

  void write(Moment now) {
    if (now.count != 0) {
      --now.count;
      now.words[now.writes[2U * now.count]] = now.writes[2U * now.count + 1];
      now.writes[2U * now.count] = now.writes[2U * now.count + 1] = 0;
      return add(now);
    }
    if (now.requests == most_requests_) return;
    const Byte cell = now.words[kCell];
    const int old = block_of(cell);
    const auto end_place = [](int block) { return static_cast<Byte>(kEnd0 + block); };
    const auto raised = static_cast<Byte>(now.words[kHeader] + 1);
    // Empties the cell, or lets it lead elsewhere; then the old block is free.
    const auto swing = [&](std::vector<Write> writes, Byte to) {
      const Write version{kHeader, raised};
      const Write free{static_cast<Byte>(kFree0 + old), 1};
      if (!rules_.version_after_cell && old >= 0) writes.push_back(version);
      writes.push_back({kCell, to});
      if (old >= 0 && rules_.version_after_cell && rules_.frees_after_version) writes.push_back(version);
      if (old >= 0) writes.push_back(free);
      return writes;
    };
    // Puts: the moment of the request is now, its end may have passed.
    for (const Byte end : {static_cast<Byte>(now.clock - 1), static_cast<Byte>(now.clock + 1), kNever}) {
      const int block = now.words[kFree0] != 0 ? 0 : now.words[kFree1] != 0 ? 1 : -1;
      if (block < 0) continue;
      Moment next = now;
      next.words[static_cast<std::size_t>(kFree0 + block)] = 0;  // in the server's own memory
      const Byte value = next.next_value++;
      begin(next, swing({{end_place(block), end}, {static_cast<Byte>(kValue0 + block), value}},
                        cell_of(static_cast<Byte>(block), end)));
    }
    if (old < 0) return;
    const Byte end = now.words[end_place(old)];
    const bool lapsed = end != kNever && now.clock >= end;
    // Erase, or the hand.
    if (!lapsed || end != kNever) begin(now, swing({}, 0));
    if (lapsed && rules_.lapsed_stays) return;
    // Another end in place.
    for (const Byte other : {static_cast<Byte>(now.clock - 1), static_cast<Byte>(now.clock + 2), kNever}) {
      std::vector<Write> writes;
      const auto saying = static_cast<Byte>(cell | kSaysEnd);
      const bool must_say = other != kNever && saying != cell;
      if (must_say && rules_.says_before) writes = {{kCell, saying}, {kHeader, raised}};
      writes.push_back({end_place(old), other});
      if (must_say && !rules_.says_before) writes.insert(writes.end(), {{kCell, saying}, {kHeader, raised}});
      begin(now, writes);
    }
  }

  // --- The reader

  void again(Moment next) {
    next.step = next.header = next.cell = next.end = next.now = next.value = 0;
    next.seen = 0;
    search_.add(next);
  }
  void finish(const Moment& now, Byte value) {
    Moment next = now;
    next.seen |= std::uint32_t{1} << content(next);
    if ((next.seen >> value & 1) == 0) {
      return search_.fail(next, value == 0 ? "a miss of a key that was there all the time"
                                           : "a hit of a value that was not there at any time");
    }
    again(next);
  }

  void read(const Moment& now) {
    Moment next = now;
    const auto at = [&](Place base) { return now.words[static_cast<std::size_t>(base + block_of(now.cell))]; };
    switch (now.step) {
      case 0:
        next.step = 1;
        next.header = now.words[kHeader];
        return add(next);
      case 1:
        next.cell = now.words[kCell];
        next.step = next.cell == 0 ? 9 : rules_.clock_after_end ? 3 : 2;
        return add(next);
      case 2:  // broken: the clock before the end
        next.now = now.clock;
        next.step = 3;
        return add(next);
      case 3:
        next.end = at(kEnd0);
        next.step = 4;
        return add(next);
      case 4: {
        if (rules_.clock_after_end) next.now = now.clock;
        const bool past = now.end != kNever && next.now >= now.end;
        next.step = !past ? 5 : rules_.end_again ? 7 : rules_.cell_again ? 8 : 9;
        return add(next);
      }
      case 5:
        next.value = at(kValue0);
        next.step = 6;
        return add(next);
      case 6:
        if (rules_.header_of_a_hit && now.words[kHeader] != now.header) return again(next);
        return finish(now, now.value);
      case 7:
        if (at(kEnd0) != now.end) return again(next);
        next.step = rules_.cell_again ? 8 : 9;
        return add(next);
      case 8:
        if (now.words[kCell] != now.cell) return again(next);
        next.step = 9;
        return add(next);
      default:
        if (rules_.header_of_a_miss && now.words[kHeader] != now.header) return again(next);
        return finish(now, 0);
    }
  }

  Rules rules_;
  int most_requests_;
  Search<Moment> search_;
};

Case make_case(const char* name, const Rules& rules, Depth requests) {
  const bool holds = rules.end_again && rules.cell_again && rules.header_of_a_miss && rules.header_of_a_hit &&
                     rules.clock_after_end && rules.version_after_cell && rules.frees_after_version &&
                     rules.says_before;
  return {holds, name, [rules, requests](Effort effort) { return Explorer(rules, requests.at(effort)).explore(); }};
}

std::vector<Case> cases() {
  const Depth few{3, 4};
  return {
      make_case("puts, ends in place, erases and the hand, each with ends in the past and in the future", {}, {3, 4}),
      make_case("a lapsed key is given a later end", {.lapsed_stays = false}, {3, 4}),
      make_case("the end is not loaded again after the clock", {.end_again = false}, few),
      make_case("the cell is not loaded again", {.cell_again = false}, few),
      make_case("a miss does not check the header", {.header_of_a_miss = false}, few),
      make_case("a hit does not check the header", {.header_of_a_hit = false}, few),
      make_case("the clock is read before the end", {.clock_after_end = false}, few),
      make_case("the version is raised before the cell is swung", {.version_after_cell = false}, few),
      make_case("the version is not raised before the block is free", {.frees_after_version = false}, few),
      make_case("the cell says that there is an end after the end is stored", {.says_before = false}, few),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "ends", hostmap::models::cases()); }
