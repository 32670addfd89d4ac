// Model: a key that changes its form, pair or entry, under a read.
//
// Modelled: moves pair -> entry and entry -> pair, direct inserts in either form, overwrites, erase,
// the bit `mixed` of the pairs' state word, a neighbour that fills places (so that K's pair comes to
// lie in an overflow bucket), an entry with a longer key that takes and gives memory, the split of
// the pair bucket, clear, long values beside pairs, kills, and recovery from the journal's record,
// which is killed, too. Old, new and overflow pair bucket have one place each; the one entry bucket has
// two cells; there is memory for three entries. Key K is read; it and its neighbour J have 8 bytes,
// the long key is never a pair.
//
// The writer's rules (each can be broken, see Rules and the cases at the end):
//   a pair decides: a key that is a pair is one, whatever the entries contain
//   mixed          set (release), and the change word turned (release), fence, before the first entry with an 8-byte key is
//                  linked; never cleared; while it is 0, the writer and the readers of 8-byte keys skip the entries
//   pair -> entry  the entry's bytes; record sealed; cell = entry (release); the pair's bit off
//                  (release): this commits; seal = 2
//   entry -> pair  record sealed; pair inserted (its header commits); cell = 0; entry bucket's
//                  version + 1; seal = 2
//   split          as in pairs_model.cpp
//   recovery       the change word is turned, fence; of a record with seal 1 the pair's bit says
//                  whether it was applied: the entry of a move out that was not, or of a move in
//                  that was, is unlinked if its cell still is the record's word, and the version
//                  rises; a split's removal is done again; seal = 0
// The reader's:
//   change word, state (acquire); pairs, as in pairs_model.cpp; where no pair has the key:
//   mixed = 0      acquire fence; a miss if every pair header visited is what it was (acquire), then the change word
//   mixed = 1      entries, as in entries_model.cpp; hit or miss counts only if every pair header visited and the entry
//                  bucket's header are what they were (acquire), then the change word
//   long value     page generation (acquire); acquire fence; these checks; bytes; acquire fence;
//                  page generation
//
// Simplified: as in those two; no split of entries; state and directory are one word.

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "cases.hpp"
#include "table_cases.hpp"
#include "table_model.hpp"

namespace hostmap::models {
namespace {

enum Key : Word { kNoKey, kK, kJ, kLongKey };

struct PairBucket {
  int header;
  const char* name;

  int key() const { return header + 1; }
  int value() const { return header + 2; }
  int link() const { return header + 3; }
  bool operator==(const PairBucket& other) const { return header == other.header; }
};
constexpr int kState = 0;
constexpr int kFillNumber = 1;
constexpr PairBucket kOld{2, "old"};
constexpr PairBucket kNew{6, "new"};
constexpr PairBucket kOverflow{10, "overflow"};  // its own link is never used
constexpr int kEntryHeader = 14;                 // the entry bucket: header, two cells
constexpr std::array kCells = {15, 16};

constexpr int kEntries = 3;
struct Entry {
  int number;

  int key() const { return 17 + (number - 1) * 4; }
  int first_half() const { return key() + 1; }
  int second_half() const { return key() + 2; }
  int generation() const { return key() + 3; }
};
// The journal's record; 0, 1 or 2 is its seal.
constexpr int kSeal = 17 + kEntries * 4;
constexpr int kKind = kSeal + 1;
constexpr int kPlace = kSeal + 2;  // the pair bucket
constexpr int kCell = kSeal + 3;
constexpr int kEntryWord = kSeal + 4;
constexpr int kTurns = kSeal + 5;
constexpr int kTwin = kSeal + 6;  // 1: something may have to be purged
constexpr std::size_t kWords = kSeal + 7;
enum Kind : Word { kMoveOut = 1, kMoveIn };

// {version | fill:2 | occupied:1 | has-overflow:1}; of the entry bucket the last two mean nothing.
struct Header {
  int version;
  int fill;
  bool is_occupied;
  bool has_overflow;

  explicit Header(Word word) : version(word >> 4), fill(word >> 2 & 3), is_occupied(word & 2), has_overflow(word & 1) {}
  Header(int version_, int fill_, bool is_occupied_, bool has_overflow_)
      : version(version_), fill(fill_), is_occupied(is_occupied_), has_overflow(has_overflow_) {}

  Header next() const { return {version + 1, fill, is_occupied, has_overflow}; }
  Header occupied(bool occupied) const { return {version, fill, occupied, has_overflow}; }
  Header linked(bool linked) const { return {version, fill, is_occupied, linked}; }
  Word word() const {
    return static_cast<Word>(version << 4 | fill << 2 | (is_occupied ? 2 : 0) | (has_overflow ? 1 : 0));
  }
};

// {mixed:1 | is split:1}
constexpr Word kSplit = 1;
constexpr Word kMixed = 2;
constexpr bool is_split(Word state) { return (state & kSplit) != 0; }
constexpr bool is_mixed(Word state) { return (state & kMixed) != 0; }

enum class Mixed { kBeforeCell, kAfterCell, kAfterPairIsErased, kClearedWithLastEntry };
enum class PairHeaders { kAll, kPrimary, kOnMissOnly, kNone };

struct Rules {
  // The situation.
  bool starts_as_pair = true;
  bool k_moves_in_split = true;
  bool splits = true;
  bool has_neighbour = true;
  bool has_long_key = true;
  bool has_long_values = false;
  int clears = 0;  // by this worker, as requests
  // The protocol; another value is a broken variant, unless a case below says that it holds.
  Mixed mixed = Mixed::kBeforeCell;
  bool split_keeps_mixed = true;
  bool move_out_writes_entry_first = true;
  bool move_in_inserts_pair_first = true;
  bool writes_records = true;
  bool recovery_undoes_move_out = true;
  bool recovery_finishes_move_in = true;
  PairHeaders reader_checks = PairHeaders::kAll;
  bool checks_headers_when_unmixed = true;
  bool checks_turns_when_unmixed = true;
  bool checks_turns_on_entry_hit = true;
  bool checks_turns_on_entry_miss = true;
  bool mixed_turns = true;
  bool split_turns = true;
  bool recovery_turns = true;
  bool fences_before_checks_of_long = true;
  bool state_is_acquired = true;
  bool mixed_is_released = true;
};

class FormsModel {
 public:
  using Server = ServerMemory<kWords>;  // its own word: the entries in use, as bits
  using SharedWords = std::array<Word, kWords>;
  static constexpr std::size_t kFill = kFillNumber;

  explicit FormsModel(const Rules& rules) : rules_(rules) {}

  Server start() const {
    Server server;
    const auto set = [&](int where, int value) {
      server.shared[static_cast<std::size_t>(where)] = static_cast<Word>(value);
    };
    for (const int header : {kOld.header, kOverflow.header, kEntryHeader}) {
      set(header, Header(1, 0, false, false).word());
    }
    const Word value = ++server.values_given;
    if (rules_.starts_as_pair) {
      set(kOld.header, Header(1, 0, true, false).word());
      set(kOld.key(), kK);
      set(kOld.value(), value);
    } else {
      set(kState, kMixed);
      set(kCells[0], 1);
      set(Entry{1}.key(), kK);
      set(Entry{1}.first_half(), value);
      set(Entry{1}.second_half(), value);
      server.own[0] = bit(Entry{1});
    }
    return server;
  }

  Word content(const SharedWords& memory) const {
    const auto load = [&](int where) { return memory[static_cast<std::size_t>(where)]; };
    const int pair = find_pair(load, kK);
    if (pair != kNowhere) return load(PairBucket{pair, ""}.value());
    const int cell = find_cell(load, kK);
    return cell == kNowhere ? Word{0} : load(Entry{load(cell)}.first_half());
  }

  Word seen_content(SharedWords memory, Word fill) const {
    memory[kFill] = fill;
    return content(memory);
  }

  template <typename Offer>
  void offer_requests(const Server& server, Offer offer) const {
    offer_put_small(server, offer);
    offer_put_large(server, kK, offer);
    offer_erase(server, kK, offer);
    if (rules_.has_neighbour) offer_neighbour(server, offer);
    if (rules_.has_long_key) {
      offer_put_large(server, kLongKey, offer);
      offer_erase(server, kLongKey, offer);
    }
    if (rules_.splits) offer_split(server, offer);
    if (rules_.clears > 0) offer_clear(server, offer);
  }

  void recover(Request<Server>& request) const {
    if (rules_.recovery_turns) turn(request);
    if (request.load(kSeal) == 1) {
      const bool is_on = Header(request.load(request.load(kPlace))).is_occupied;
      const bool unlinks = request.load(kKind) == kMoveOut ? is_on && rules_.recovery_undoes_move_out
                                                           : is_on && rules_.recovery_finishes_move_in;
      if (unlinks && request.load(request.load(kCell)) == request.load(kEntryWord)) {
        request.store(request.load(kCell), 0);
        bump_entries(request);
      }
    }
    if (request.load(kTwin) != 0) {
      if (is_split(request.load(kState))) finish_split(request);
      request.store(kTwin, 0);
    }
    request.store(kSeal, 0);
  }

  const char* rebuild(Server& server) const {
    const auto load = [&](int where) { return server.shared[static_cast<std::size_t>(where)]; };
    server.own[0] = 0;
    for (const int cell : kCells) {
      if (load(cell) != 0) {
        server.own[0] = static_cast<Word>(server.own[0] | bit(Entry{load(cell)}));
      }
    }
    if (find_pair(load, kK) != kNowhere && find_cell(load, kK) != kNowhere) {
      return "after recovery the key has both forms";
    }
    return nullptr;
  }

  template <typename Loads>
  ReadResult read(Loads& load) const {
    const Word fill = load.relaxed(kFillNumber);
    const Word turns = load.acquire(kTurns);
    const Word state = rules_.state_is_acquired ? load.acquire(kState) : load.relaxed(kState);
    PairsVisited visited{home(state, kK), 0, false, 0};

    for (PairBucket bucket = visited.primary;;) {
      const Word header = load.acquire(bucket.header);
      (visited.has_overflow ? visited.overflow_header : visited.primary_header) = header;
      if (Header(header).fill != (fill & 3)) {
        if (visited.has_overflow) return ReadResult::again();
        break;
      }
      if (Header(header).is_occupied && load.relaxed(bucket.key()) == kK) {
        const Word value = load.relaxed(bucket.value());
        load.acquire_fence();
        if (load.acquire(bucket.header) != header || has_turned(load, turns)) return ReadResult::again();
        return load.relaxed(kFillNumber) == fill ? ReadResult::hit(value) : ReadResult::again();
      }
      if (!Header(header).has_overflow || visited.has_overflow) break;
      if (load.relaxed(bucket.link()) == 0) return ReadResult::again();
      bucket = kOverflow;
      visited.has_overflow = true;
    }

    if (!is_mixed(state)) {
      load.acquire_fence();
      if (rules_.checks_headers_when_unmixed && have_changed(load, visited, PairHeaders::kAll, false)) {
        return ReadResult::again();
      }
      if (rules_.checks_turns_when_unmixed && has_turned(load, turns)) return ReadResult::again();
      if (load.relaxed(kFillNumber) != fill) return ReadResult::again();
      return ReadResult::miss();
    }
    return read_entries(load, fill, turns, visited);
  }

  std::string describe(int where, Word value) const {
    if (where == kState) {
      return std::string("pairs' state = {") + (is_split(value) ? "two segments" : "one segment") +
             (is_mixed(value) ? ", mixed}" : "}");
    }
    if (where == kFillNumber) return "fill = " + std::to_string(value);
    if (where == kTurns) return "turns = " + std::to_string(value);
    if (where == kTwin) return std::string("twin word = ") + (value != 0 ? "purge" : "none");
    for (const PairBucket& bucket : {kOld, kNew, kOverflow}) {
      const std::string name = bucket.name;
      if (where == bucket.header) {
        const Header header(value);
        return name + ".header = {version " + std::to_string(header.version) + ", fill " + std::to_string(header.fill) +
               (header.is_occupied ? ", occupied" : ", free") + (header.has_overflow ? ", has overflow}" : "}");
      }
      if (where == bucket.key()) return name + ".key = " + key_name(value);
      if (where == bucket.value()) return name + ".value = " + std::to_string(value);
      if (where == bucket.link()) return name + ".link = " + (value != 0 ? "overflow" : "none");
    }
    if (where == kEntryHeader) {
      const Header header(value);
      return "entries.header = {version " + std::to_string(header.version) + ", fill " + std::to_string(header.fill) +
             "}";
    }
    for (const int cell : kCells) {
      if (where == cell) {
        return "entries.cell" + std::to_string(cell - kCells[0]) + " = " +
               (value == 0 ? "0" : "entry " + std::to_string(value));
      }
    }
    if (where >= kSeal) {
      const std::array names = {"seal", "kind", "place", "cell", "entry"};
      return std::string("record.") + names[static_cast<std::size_t>(where - kSeal)] + " = " + std::to_string(value);
    }
    const Entry entry{(where - 17) / 4 + 1};
    const std::string name = "entry " + std::to_string(entry.number);
    if (where == entry.key()) return name + ".key = " + key_name(value);
    if (where == entry.generation()) return name + ".page generation = " + std::to_string(value);
    return name + (where == entry.first_half() ? ".first half = " : ".second half = ") + std::to_string(value);
  }

 private:
  static constexpr int kNowhere = -1;

  struct PairsVisited {
    PairBucket primary;
    Word primary_header;
    bool has_overflow;
    Word overflow_header;
  };

  static const char* key_name(Word key) { return std::array{"-", "K", "J", "the long key"}[key & 3]; }
  static Word bit(Entry entry) { return static_cast<Word>(1U << entry.number); }
  PairBucket home(Word state, Word key) const {
    const bool moves = key == kK ? rules_.k_moves_in_split : !rules_.k_moves_in_split;
    return is_split(state) && moves ? kNew : kOld;
  }

  template <typename Loads>
  ReadResult read_entries(Loads& load, Word fill, Word turns, const PairsVisited& visited) const {
    const Word header = load.acquire(kEntryHeader);
    std::array<bool, 2> is_candidate{};  // none in a stale bucket
    for (std::size_t index = 0; Header(header).fill == (fill & 3) && index < kCells.size(); ++index) {
      is_candidate[index] = load.relaxed(kCells[index]) != 0;
    }
    for (std::size_t index = 0; index < kCells.size(); ++index) {
      if (!is_candidate[index]) continue;
      const Word cell = load.acquire(kCells[index]);
      if (cell == 0 || cell > kEntries) return ReadResult::again();  // no tag, or out of bounds
      const Entry entry{cell};
      if (load.relaxed(entry.key()) != kK) continue;

      const auto is_still_so = [&] {
        return !have_changed(load, visited, rules_.reader_checks, true) && load.acquire(kEntryHeader) == header &&
               !(rules_.checks_turns_on_entry_hit && has_turned(load, turns)) && load.relaxed(kFillNumber) == fill;
      };
      Word generation = 0;
      if (rules_.has_long_values) {
        generation = load.acquire(entry.generation());
        if (rules_.fences_before_checks_of_long) load.acquire_fence();
        if (!is_still_so()) return ReadResult::again();
      }
      const Word first = load.relaxed(entry.first_half());
      const Word second = load.relaxed(entry.second_half());
      load.acquire_fence();
      if (rules_.has_long_values ? load.relaxed(entry.generation()) != generation : !is_still_so()) {
        return ReadResult::again();
      }
      return first == second ? ReadResult::hit(first) : ReadResult::torn();
    }
    load.acquire_fence();
    if (have_changed(load, visited, rules_.reader_checks, false)) return ReadResult::again();
    if (load.acquire(kEntryHeader) != header) return ReadResult::again();
    if (rules_.checks_turns_on_entry_miss && has_turned(load, turns)) return ReadResult::again();
    if (load.relaxed(kFillNumber) != fill) return ReadResult::again();
    return ReadResult::miss();
  }

  template <typename Loads>
  static bool has_turned(Loads& load, Word turns) {
    return load.relaxed(kTurns) != turns;
  }

  template <typename Loads>
  static bool have_changed(Loads& load, const PairsVisited& visited, PairHeaders which, bool is_hit) {
    if (which == PairHeaders::kNone || (which == PairHeaders::kOnMissOnly && is_hit)) return false;
    if (load.acquire(visited.primary.header) != visited.primary_header) return true;
    return visited.has_overflow && which != PairHeaders::kPrimary &&
           load.acquire(kOverflow.header) != visited.overflow_header;
  }

  static auto loader(const Request<Server>& request) {
    return [&request](int where) { return request.load(where); };
  }

  template <typename Load>
  static bool is_stale(const Load& load, int header) {
    return Header(load(header)).fill != (load(kFillNumber) & 3);
  }

  // The header of the pair bucket that holds the key.
  template <typename Load>
  int find_pair(const Load& load, Key key) const {
    const PairBucket primary = home(load(kState), key);
    if (is_stale(load, primary.header)) return kNowhere;
    for (PairBucket bucket = primary;; bucket = kOverflow) {
      const Header header(load(bucket.header));
      if (header.is_occupied && load(bucket.key()) == key) return bucket.header;
      if (!header.has_overflow || bucket == kOverflow) return kNowhere;
    }
  }

  template <typename Load>
  static int find_cell(const Load& load, Key key) {
    if (is_stale(load, kEntryHeader)) return kNowhere;
    for (const int cell : kCells) {
      if (load(cell) != 0 && load(Entry{load(cell)}.key()) == key) return cell;
    }
    return kNowhere;
  }

  // As the writer searches: not among the entries while no 8-byte key can be there.
  static int find_entry(const Request<Server>& request, Key key) {
    if (key != kLongKey && !is_mixed(request.load(kState))) return kNowhere;
    return find_cell(loader(request), key);
  }

  static Header header_of(const Request<Server>& request, const PairBucket& bucket) {
    return Header(request.load(bucket.header));
  }

  static void turn(Request<Server>& request) {
    request.store(kTurns, request.load(kTurns) + 1);
    request.release_fence();
  }

  static void bump_entries(Request<Server>& request) {
    request.store(kEntryHeader, Header(request.load(kEntryHeader)).next().word());
  }

  // The first touch of a bucket of an earlier fill.
  static void reset_if_stale(Request<Server>& request, const PairBucket& bucket) {
    if (!is_stale(loader(request), bucket.header)) return;
    const int version = header_of(request, bucket).version + 1;
    request.store(bucket.header, Header(version, request.load(kFillNumber) & 3, false, false).word());
    request.release_fence();
  }

  static void reset_entries_if_stale(Request<Server>& request) {
    if (!is_stale(loader(request), kEntryHeader)) return;
    for (const int cell : kCells) {
      if (request.load(cell) == 0) continue;
      request.own(0) = static_cast<Word>(request.own(0) & ~bit(Entry{request.load(cell)}));
      request.store(cell, 0);
    }
    const int version = Header(request.load(kEntryHeader)).version + 1;
    request.store(kEntryHeader, Header(version, request.load(kFillNumber) & 3, false, false).word());
  }

  void set_mixed(Request<Server>& request, Mixed when) const {
    const bool is_time =
        rules_.mixed == when || (rules_.mixed == Mixed::kClearedWithLastEntry && when == Mixed::kBeforeCell);
    if (!is_time || is_mixed(request.load(kState))) return;
    request.store(kState, request.load(kState) | kMixed, rules_.mixed_is_released ? Order::kRelease : Order::kRelaxed);
    if (rules_.mixed_turns) turn(request);
  }

  void clear_mixed(Request<Server>& request) const {
    if (rules_.mixed != Mixed::kClearedWithLastEntry || !is_mixed(request.load(kState))) return;
    if (find_cell(loader(request), kK) != kNowhere) return;
    request.store(kState, request.load(kState) & ~kMixed);
  }

  void seal(Request<Server>& request, Kind kind, int place, int cell, int word) const {
    if (!rules_.writes_records) return;
    request.store(kSeal, 0);
    request.store(kKind, kind, Order::kRelaxed);
    request.store(kPlace, place, Order::kRelaxed);
    request.store(kCell, cell, Order::kRelaxed);
    request.store(kEntryWord, word, Order::kRelaxed);
    request.store(kSeal, 1);
  }

  void close_record(Request<Server>& request) const {
    if (rules_.writes_records) request.store(kSeal, 2);
  }

  // A bucket of the key's chain with a free place, linking the overflow bucket if need be.
  static int room_for_pair(Request<Server>& request, const PairBucket& primary) {
    if (!header_of(request, primary).is_occupied) return primary.header;
    if (!header_of(request, primary).has_overflow) {
      if (header_of(request, kOld).has_overflow || header_of(request, kNew).has_overflow) {
        return kNowhere;
      }
      const int version = header_of(request, kOverflow).version + 1;
      request.store(kOverflow.header, Header(version, request.load(kFillNumber) & 3, false, false).word());
      request.release_fence();
      request.store(primary.link(), kOverflow.header, Order::kRelaxed);
      request.store(primary.header, header_of(request, primary).next().linked(true).word());
    }
    return header_of(request, kOverflow).is_occupied ? kNowhere : kOverflow.header;
  }

  static void insert_pair(Request<Server>& request, int header, Key key, Word value) {
    const PairBucket bucket{header, ""};
    request.release_fence();
    request.store(bucket.key(), key, Order::kRelaxed);
    request.store(bucket.value(), value, Order::kRelaxed);
    request.store(bucket.header, header_of(request, bucket).next().occupied(true).word());
  }

  static void erase_pair(Request<Server>& request, int header) {
    const PairBucket bucket{header, ""};
    request.store(header, header_of(request, bucket).next().occupied(false).word());
  }

  static void unlink_entry(Request<Server>& request, int cell) {
    const Entry entry{request.load(cell)};
    request.store(cell, 0);
    bump_entries(request);
    request.own(0) = static_cast<Word>(request.own(0) & ~bit(entry));
  }

  // A value that fits a pair.
  template <typename Offer>
  void offer_put_small(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    const PairBucket primary = home(request.load(kState), kK);
    reset_if_stale(request, primary);
    reset_entries_if_stale(request);
    const Word value = request.new_value();
    request.sets_content(value);
    const int pair = find_pair(loader(request), kK);
    if (pair != kNowhere) {
      request.store(PairBucket{pair, ""}.value(), value);
      return offer(request);
    }
    const int place = room_for_pair(request, primary);
    if (place == kNowhere) return;
    const int cell = find_entry(request, kK);
    if (cell == kNowhere) {
      insert_pair(request, place, kK, value);
      return offer(request);
    }
    seal(request, kMoveIn, place, cell, request.load(cell));
    if (!rules_.move_in_inserts_pair_first) unlink_entry(request, cell);
    insert_pair(request, place, kK, value);
    if (rules_.move_in_inserts_pair_first) unlink_entry(request, cell);
    close_record(request);
    clear_mixed(request);
    offer(request);
  }

  // A value that does not fit a pair, or a key that does not.
  template <typename Offer>
  void offer_put_large(const Server& server, Key key, Offer& offer) const {
    Request<Server> request(server);
    reset_entries_if_stale(request);
    Entry entry{1};
    while (entry.number <= kEntries && (request.own(0) & bit(entry)) != 0) ++entry.number;
    const int pair = key == kLongKey ? kNowhere : find_pair(loader(request), key);
    const int old_cell = find_entry(request, key);
    int cell = old_cell;
    for (const int empty : kCells) {
      if (cell == kNowhere && request.load(empty) == 0) cell = empty;
    }
    if (entry.number > kEntries || cell == kNowhere) return;

    if (key != kLongKey) set_mixed(request, Mixed::kBeforeCell);
    if (rules_.has_long_values) {
      request.store(entry.generation(), request.load(entry.generation()) + 1);
    }
    request.release_fence();
    const Word value = request.new_value();
    request.store(entry.key(), key, Order::kRelaxed);
    request.store(entry.first_half(), value, Order::kRelaxed);
    request.store(entry.second_half(), value, Order::kRelaxed);
    if (pair != kNowhere) {
      seal(request, kMoveOut, pair, cell, entry.number);
      if (!rules_.move_out_writes_entry_first) erase_pair(request, pair);
    }
    if (old_cell != kNowhere) unlink_for(request, old_cell, entry);
    if (old_cell == kNowhere) request.store(cell, entry.number);
    request.own(0) = static_cast<Word>(request.own(0) | bit(entry));
    if (key != kLongKey) set_mixed(request, Mixed::kAfterCell);
    if (pair != kNowhere) {
      if (rules_.move_out_writes_entry_first) erase_pair(request, pair);
      close_record(request);
    }
    if (key != kLongKey) set_mixed(request, Mixed::kAfterPairIsErased);
    if (key == kK) request.sets_content(value);
    offer(request);
  }

  // The cell swings from its entry to another one.
  static void unlink_for(Request<Server>& request, int cell, Entry entry) {
    const Entry before{request.load(cell)};
    request.store(cell, entry.number);
    bump_entries(request);
    request.own(0) = static_cast<Word>(request.own(0) & ~bit(before));
  }

  template <typename Offer>
  void offer_erase(const Server& server, Key key, Offer& offer) const {
    Request<Server> request(server);
    const int pair = key == kLongKey ? kNowhere : find_pair(loader(request), key);
    const int cell = find_entry(request, key);
    if (pair != kNowhere) {
      erase_pair(request, pair);
    } else if (cell != kNowhere) {
      unlink_entry(request, cell);
      clear_mixed(request);
    } else {
      return;
    }
    if (key == kK) request.sets_content(0);
    offer(request);
  }

  // The neighbour comes as a pair, or goes.
  template <typename Offer>
  void offer_neighbour(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    const int pair = find_pair(loader(request), kJ);
    if (pair != kNowhere) {
      erase_pair(request, pair);
      return offer(request);
    }
    const PairBucket primary = home(request.load(kState), kJ);
    reset_if_stale(request, primary);
    const int place = room_for_pair(request, primary);
    if (place == kNowhere) return;
    insert_pair(request, place, kJ, request.new_value());
    offer(request);
  }

  // Splits are made between requests: the last record is closed.
  template <typename Offer>
  void offer_split(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    const Word state = request.load(kState);
    if (is_split(state)) return;
    reset_if_stale(request, kOld);
    const Word kept = rules_.split_keeps_mixed ? state & kMixed : Word{0};
    const Key moved = rules_.k_moves_in_split ? kK : kJ;
    const int pair = find_pair(loader(request), moved);
    if (pair != kNowhere) {
      request.store(kNew.key(), moved, Order::kRelaxed);
      request.store(kNew.value(), request.load(PairBucket{pair, ""}.value()), Order::kRelaxed);
    }
    request.store(kNew.header, Header(1, request.load(kFillNumber) & 3, pair != kNowhere, false).word());
    request.store(kTwin, 1);
    request.store(kState, kept | kSplit);
    if (rules_.split_turns) turn(request);
    finish_split(request);
    request.store(kTwin, 0);
    gather(request);
    offer(request);
  }

  template <typename Offer>
  void offer_clear(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (request.load(kFillNumber) == rules_.clears) return;
    for (const int header : {kOld.header, kNew.header, kEntryHeader}) {
      const bool is_published = header != kNew.header || is_split(request.load(kState));
      if (is_published && is_stale(loader(request), header)) return;
    }
    request.store(kFillNumber, request.load(kFillNumber) + 1);
    request.sets_content(0);
    offer(request);
  }

  // Takes away what moved, the overflow bucket's first, and unlinks that where it is empty.
  void finish_split(Request<Server>& request) const {
    const Key moved = rules_.k_moves_in_split ? kK : kJ;
    const auto holds_moved = [&](const PairBucket& bucket) {
      return header_of(request, bucket).is_occupied && request.load(bucket.key()) == moved;
    };
    const bool has_overflow = header_of(request, kOld).has_overflow;
    if (has_overflow && holds_moved(kOverflow)) erase_pair(request, kOverflow.header);
    Header header = header_of(request, kOld).next();
    if (holds_moved(kOld)) header = header.occupied(false);
    if (has_overflow) header = header.linked(header_of(request, kOverflow).is_occupied);
    request.store(kOld.header, header.word());
  }

  // What is left in the overflow bucket comes back to its owner, as in pairs_model.cpp.
  void gather(Request<Server>& request) const {
    const Header header = header_of(request, kOld);
    if (!header.has_overflow || header.is_occupied) return;
    request.release_fence();
    request.store(kOld.key(), request.load(kOverflow.key()), Order::kRelaxed);
    request.store(kOld.value(), request.load(kOverflow.value()), Order::kRelaxed);
    request.store(kOld.header, header.next().occupied(true).linked(false).word());
  }

  const Rules rules_;
};

std::vector<Case> cases() {
  constexpr auto holds = TableCases<FormsModel, Rules>::holds;
  constexpr auto broken = TableCases<FormsModel, Rules>::broken;
  constexpr Memory kProgram = Memory::kProgramOrder;
  constexpr Memory kCpp = Memory::kCppOrder;
  return {
      holds("program order, K starts as a pair", kProgram, {{4, 5}}, {}),
      holds("program order, K starts as an entry", kProgram, {{3, 5}}, {.starts_as_pair = false}),
      holds("program order, K stays in the split", kProgram, {{3, 5}}, {.k_moves_in_split = false}),
      holds("program order, a kill, K starts as a pair", kProgram, {{3, 4}, 1}, {}),
      holds("program order, a kill, K starts as an entry", kProgram, {{3, 4}, 1}, {.starts_as_pair = false}),
      holds("program order, two kills, no neighbours", kProgram, {{3, 4}, 2},
            {.has_neighbour = false, .has_long_key = false}),
      holds("program order, long values beside pairs", kProgram, {{3, 5}},
            {.starts_as_pair = false, .has_long_values = true}),
      holds("program order, clear, a kill", kProgram, {{3, 4}, 1}, {.has_long_key = false, .clears = 2}),
      holds("program order, clear, a kill, K starts as an entry", kProgram, {{3, 4}, 1},
            {.starts_as_pair = false, .has_neighbour = false, .clears = 2}),
      holds("program order, clears by another worker inside requests", kProgram, {{2, 3}, 0, 2}, {}),
      holds("program order, clears by another worker, a kill, K starts as an entry", kProgram, {{2, 3}, 1, 1},
            {.starts_as_pair = false}),
      holds("C++ order, K starts as a pair", kCpp, {{3, 5}}, {}),
      holds("C++ order, K starts as an entry", kCpp, {{3, 5}}, {.starts_as_pair = false}),
      holds("C++ order, a kill", kCpp, {{2, 4}, 1}, {}),
      holds("C++ order, long values beside pairs", kCpp, {{3, 5}}, {.has_long_values = true}),
      holds("C++ order, clear", kCpp, {{3, 4}}, {.clears = 2}),
      holds("C++ order, clears by another worker, K starts as an entry", kCpp, {{2, 3}, 0, 2},
            {.starts_as_pair = false}),
      holds("C++ order, clear by another worker, a kill", kCpp, {{2, 3}, 1, 1}, {}),
      holds("program order, mixed = 0: a miss needs the change word, but no pair header again", kProgram, {{4, 4}},
            {.checks_headers_when_unmixed = false}),
      holds("C++ order, mixed = 0: a miss needs the change word, but no pair header again", kCpp, {{3, 5}},
            {.checks_headers_when_unmixed = false}),
      holds("program order, mixed may be cleared with the last entry, as setting it turns", kProgram, {{3, 3}, 1},
            {.has_long_key = false, .mixed = Mixed::kClearedWithLastEntry}),
      holds("C++ order, mixed may be cleared with the last entry", kCpp, {{3, 5}},
            {.has_long_key = false, .mixed = Mixed::kClearedWithLastEntry}),
      holds("C++ order, mixed may be stored relaxed, as the turn is released", kCpp, {{3, 5}},
            {.mixed_is_released = false}),
      broken("mixed cleared with the last entry, and no turn when it is set", kProgram, {{4, 4}},
             {.has_long_key = false, .mixed = Mixed::kClearedWithLastEntry, .mixed_turns = false}),
      broken("mixed set after the cell, before the pair is erased", kProgram, {{4, 4}}, {.mixed = Mixed::kAfterCell}),
      broken("mixed set after the cell is linked and the pair erased", kProgram, {{4, 4}},
             {.mixed = Mixed::kAfterPairIsErased}),
      broken("a split forgets mixed", kProgram, {{4, 4}}, {.split_keeps_mixed = false}),
      broken("mixed = 0: a miss without the change word again", kProgram, {{4, 4}},
             {.checks_turns_when_unmixed = false}),
      broken("no turn when mixed is set", kProgram, {{4, 4}}, {.mixed_turns = false}),
      broken("no turn after a split", kProgram, {{5, 5}}, {.split_turns = false}),
      broken("no turn at a restart", kProgram, {{4, 4}, 1}, {.recovery_turns = false}),
      broken("mixed = 1: no pair header checked again", kProgram, {{4, 4}}, {.reader_checks = PairHeaders::kNone}),
      broken("mixed = 1: pair headers checked again on a miss only", kProgram, {{5, 5}},
             {.has_long_key = false, .reader_checks = PairHeaders::kOnMissOnly}),
      broken("mixed = 1: only the primary's pair header checked again", kProgram, {{5, 5}},
             {.has_long_key = false, .reader_checks = PairHeaders::kPrimary}),
      broken(
          "mixed = 1: a hit among the entries without the change word again", kProgram, {{5, 5}},
          {.starts_as_pair = false, .has_neighbour = false, .has_long_key = false, .checks_turns_on_entry_hit = false}),
      broken("mixed = 1: a miss without the change word again", kProgram, {{5, 5}},
             {.starts_as_pair = false, .checks_turns_on_entry_miss = false}),
      broken("long values: no acquire fence between the pairs' keys and their headers", kCpp, {{4, 4}},
             {.has_long_values = true, .fences_before_checks_of_long = false}),
      broken("mixed = 0: state loaded relaxed, and a miss without the pair headers again", kCpp, {{4, 4}},
             {.checks_headers_when_unmixed = false, .state_is_acquired = false}),
      broken("entry -> pair: entry unlinked first", kProgram, {{3, 3}},
             {.starts_as_pair = false, .move_in_inserts_pair_first = false}),
      broken("pair -> entry: pair erased first", kProgram, {{3, 3}}, {.move_out_writes_entry_first = false}),
      broken("recovery leaves the entry of a move out that did not happen", kProgram, {{3, 3}, 1},
             {.recovery_undoes_move_out = false}),
      broken("recovery does not finish a move in", kProgram, {{3, 3}, 1},
             {.starts_as_pair = false, .recovery_finishes_move_in = false}),
      broken("moves without a record", kProgram, {{3, 3}, 1}, {.writes_records = false}),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "forms", hostmap::models::cases()); }
