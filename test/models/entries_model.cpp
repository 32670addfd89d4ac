// Model: reading entries while the shard's writer changes them.
//
// Modelled: the swing of a cell to a fresh entry, the version that rises before the old entry's
// memory is used again, overwriting one word in place, erase and eviction, the last cell becoming
// the link to an overflow bucket, that bucket emptied, unlinked and linked again into another
// chain, the split of a bucket, clear by the fill number (by this worker or by another one in the
// middle of a request), long values and their page generation, kills, and recovery, which is killed,
// too. Old bucket, new bucket (which the split makes) and overflow bucket have two cells each;
// there is memory for four entries. Key K is read; L and J come and go beside it. All keys have the
// same tag, the worst case. The pairs, before the entries, are forms_model.cpp; the steps of a split, and memory that is given
// to other uses, segments_model.cpp.
//
// The writer's rules (each can be broken, see Rules and the cases at the end):
//   put        release fence; the new entry's bytes; cell = entry (release); the primary's version + 1 (release), but not
//              for a cell that was empty; only then is the old entry's memory free
//   erase      the same with cell = 0
//   in place   one release store of the value word, no bump
//   link       the last cell is copied to the overflow bucket, its other cell = 0, last cell = link
//              (release); no bump: nothing became free
//   split      new bucket filled; twin word = purge; the directory's word (release); the change word is turned (release),
//              fence; moved cells = 0, the link of an emptied overflow bucket = 0 (release each); version + 1; twin word =
//              none
//   touch      the cell of an entry with its touched bit set or cleared (release): eviction by CLOCK, and no bump
//   clear      fill + 1, one store; a bucket of another fill is empty, and its entries are free
//              only after its reset on first touch
//   memory     whoever takes it raises its page generation (release), then a release fence
//   recovery   the change word is turned, fence, first of all; twin word: the removal is done again, whatever the bucket's
//              fill; then every cell of published buckets is marked, of stale ones, too, and only what is not marked is free
// The reader's:
//   change word, directory, the primary's header (acquire) before the first cell; cells as a vector, in any
//   order, to find candidates; a candidate is loaded again (acquire), and counts as it is then;
//   entry; last cell (acquire): the link? acquire fence; the primary's header is what it was (acquire), then the change word,
//   for a hit and for a miss
//   long value: page generation (acquire); acquire fence; header; change word; bytes; acquire fence; page generation
//
// Simplified: small buckets, one split, words of 16 bits, fill without its wrap, an entry of a key,
// two words of value and a page of its own. The two parts of the change word are two words, as in pairs_model.cpp.

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "cases.hpp"
#include "table_cases.hpp"
#include "table_model.hpp"

namespace hostmap::models {
namespace {

enum Key : Word { kNoKey, kK, kL, kJ };
constexpr std::array kKeys = {kK, kL, kJ};
constexpr unsigned bit_of(Key key) { return 1U << key; }

// Where a bucket's words lie: header, two cells. A cell is 0, the number of an entry, or the link.
struct Bucket {
  int header;
  const char* name;

  int cell(int index) const { return header + 1 + index; }
  int last_cell() const { return cell(1); }
  bool contains(int where) const { return where >= header && where <= last_cell(); }
  bool operator==(const Bucket& other) const { return header == other.header; }
};
constexpr int kDirectory = 0;  // 1: the keys that move have a segment of their own
constexpr int kFillNumber = 1;
constexpr int kTurns = 2;
constexpr Bucket kOld{3, "old"};
constexpr Bucket kNew{6, "new"};
constexpr Bucket kOverflow{9, "overflow"};
constexpr Word kLink = 15;
constexpr Word kTouched = 16;  // in the cell of an entry

// Where an entry's words lie: key, two halves of a value, the generation of its page.
constexpr int kEntries = 4;
struct Entry {
  int number;

  int key() const { return 12 + (number - 1) * 4; }
  int first_half() const { return key() + 1; }
  int second_half() const { return key() + 2; }
  int generation() const { return key() + 3; }
};
constexpr Entry entry_of(Word cell) { return {cell & ~kTouched}; }
constexpr int kTwin = 12 + kEntries * 4;  // 1: something may have to be purged
constexpr std::size_t kWords = kTwin + 1;

// {version | fill:2}
struct Header {
  int version;
  int fill;

  explicit Header(Word word) : version(word >> 2), fill(word & 3) {}
  Header(int version_, int fill_) : version(version_), fill(fill_) {}
  Word word() const { return static_cast<Word>(version << 2 | fill); }
};

// An access that is acquire or release by the rules.
enum class Access {
  kNone,
  kTurnsLoad,
  kDirectoryLoad,
  kHeaderLoad,
  kCandidateLoad,
  kLinkLoad,
  kCellStore,
  kLinkStore,
  kRemovalStore,
  kBumpStore,
  kGenerationStore,
  kPublishStore,
  kTurnStore,
  kTouchStore,
};

enum class Bump { kAfterCell, kBeforeCell, kNever };

struct Rules {
  // The situation.
  unsigned moving = bit_of(kK) | bit_of(kL);  // the keys that the split moves
  bool starts_full = false;                   // K in the last cell of a full bucket
  bool starts_split = false;                  // the split is done
  bool starts_with_j = false;                 // in the old bucket, before K's entry
  bool erases_k = true;
  bool overwrites_in_place = false;
  bool has_long_values = false;
  bool touches = false;
  bool loads_cells_backwards = false;  // in C++ order they are loaded in any order anyway
  int clears = 0;                      // by this worker, as requests
  // The protocol; another value is a broken variant.
  bool release_fence_before_reuse = true;
  Bump bump = Bump::kAfterCell;
  bool version_covers_chain = true;  // else each bucket has its own
  bool split_bumps = true;
  bool turns_after_split = true;
  bool recovery_turns = true;
  bool recovery_removes_in_stale_bucket = true;
  bool recovery_marks_stale_buckets = true;
  bool sweep_leaves_unpublished_buckets = true;
  bool generation_is_beside_arena = true;  // else where other entries have payload
  bool fence_after_generation = true;
  bool header_before_cells = true;
  bool checks_header_on_hit = true;
  bool checks_header_on_miss = true;
  bool checks_turns = true;
  bool checks_header_after_generation = true;
  bool checks_generation = true;
  bool reader_fences = true;
  Access relaxed = Access::kNone;  // this one is only relaxed
};

class EntriesModel {
 public:
  using Server = ServerMemory<kWords>;  // its own word: the entries in use, as bits
  using SharedWords = std::array<Word, kWords>;
  static constexpr std::size_t kFill = kFillNumber;

  explicit EntriesModel(const Rules& rules) : rules_(rules) {}

  Server start() const {
    Server server;
    const auto set = [&](int where, int value) {
      server.shared[static_cast<std::size_t>(where)] = static_cast<Word>(value);
    };
    set(kOld.header, Header(1, 0).word());
    set(kOverflow.header, Header(1, 0).word());
    if (rules_.starts_split) set(kNew.header, Header(1, 0).word());
    if (rules_.starts_split) set(kDirectory, 1);
    const auto set_entry = [&](int cell, Entry entry, Key key) {
      set(entry.key(), key);
      set(entry.first_half(), ++server.values_given);
      set(entry.second_half(), server.values_given);
      set(cell, entry.number);
      server.own[0] = static_cast<Word>(server.own[0] | bit(entry));
    };
    const Bucket home_of_k = home(server.shared[kDirectory], kK);
    if (rules_.starts_with_j) set_entry(kOld.last_cell(), Entry{1}, kJ);
    set_entry(home_of_k.last_cell(), Entry{rules_.starts_with_j ? 2 : 1}, kK);
    if (rules_.starts_full) set_entry(home_of_k.cell(0), Entry{2}, kL);
    return server;
  }

  Word content(const SharedWords& memory) const {
    const auto load = [&](int where) { return memory[static_cast<std::size_t>(where)]; };
    const int cell = find(load, kK);
    return cell == kNowhere ? Word{0} : load(entry_of(load(cell)).first_half());
  }

  Word seen_content(SharedWords memory, Word fill) const {
    memory[kFill] = fill;
    return content(memory);
  }

  template <typename Offer>
  void offer_requests(const Server& server, Offer offer) const {
    for (const Key key : kKeys) {
      offer_put(server, key, offer);
      if (key != kK || rules_.erases_k) offer_erase(server, key, offer);
    }
    if (rules_.overwrites_in_place) offer_overwrite(server, offer);
    if (rules_.touches) offer_touch(server, offer);
    offer_split(server, offer);
    if (rules_.clears > 0) {
      offer_clear(server, offer);
      offer_reset(server, offer);
    }
  }

  void recover(Request<Server>& request) const {
    if (rules_.recovery_turns) turn(request);
    if (request.load(kTwin) == 0) return;
    const bool is_published = request.load(kDirectory) != 0;
    if (is_published && (rules_.recovery_removes_in_stale_bucket || !is_stale(request, kOld))) remove_moved(request);
    request.store(kTwin, 0);
  }

  // Finds what is in use. (That no key has two cells is seen by the content that does not change.)
  const char* rebuild(Server& server) const {
    const auto load = [&](int where) { return server.shared[static_cast<std::size_t>(where)]; };
    server.own[0] = 0;
    for (const Bucket& primary : {kOld, kNew}) {
      if (primary == kNew && load(kDirectory) == 0) continue;
      const bool is_stale = Header(load(primary.header)).fill != (load(kFillNumber) & 3);
      if (is_stale && !rules_.recovery_marks_stale_buckets) continue;
      for (const int cell : cells_of_chain(load, primary)) {
        if (load(cell) == 0) continue;
        const Word mark = bit(entry_of(load(cell)));
        if ((server.own[0] & mark) != 0) return "after recovery an entry hangs in two cells";
        server.own[0] = static_cast<Word>(server.own[0] | mark);
      }
    }
    return nullptr;
  }

  template <typename Loads>
  ReadResult read(Loads& load) const {
    const auto load_acquire = [&](int where, Access access) {
      return rules_.relaxed == access ? load.relaxed(where) : load.acquire(where);
    };
    const Change change{load.relaxed(kFillNumber), load_acquire(kTurns, Access::kTurnsLoad)};
    const Bucket primary = home(load_acquire(kDirectory, Access::kDirectoryLoad), kK);
    Word header = 0;
    if (rules_.header_before_cells) header = load_acquire(primary.header, Access::kHeaderLoad);
    const bool is_live = !rules_.header_before_cells || Header(header).fill == (change.fill & 3);
    Word overflow_header = 0;
    bool visits_overflow = false;
    for (Bucket bucket = primary; is_live;) {
      // A vector marks the cells that may name the key; each of them is loaded again, and counts as it is then.
      std::array<bool, 2> is_candidate{};
      for (const int index : {0, 1}) {
        const int at = rules_.loads_cells_backwards ? 1 - index : index;
        const Word cell = load.relaxed(bucket.cell(at));
        is_candidate[static_cast<std::size_t>(at)] = cell != 0 && cell != kLink;
      }
      for (const int index : {0, 1}) {
        if (!is_candidate[static_cast<std::size_t>(index)]) continue;
        const Word cell = load_acquire(bucket.cell(index), Access::kCandidateLoad);
        if (!rules_.header_before_cells) header = load.acquire(primary.header);
        const Entry entry = entry_of(cell);
        if (entry.number == 0 || entry.number > kEntries) return ReadResult::again();  // no tag, or out of bounds
        if (load.relaxed(entry.key()) != kK) continue;
        const bool own = !rules_.version_covers_chain && visits_overflow;
        return read_value(load, entry, own ? kOverflow : primary, own ? overflow_header : header, change);
      }
      if (visits_overflow || load_acquire(bucket.last_cell(), Access::kLinkLoad) != kLink) break;
      if (!rules_.version_covers_chain) overflow_header = load.acquire(kOverflow.header);
      bucket = kOverflow;
      visits_overflow = true;
    }
    if (rules_.reader_fences) load.acquire_fence();
    if (rules_.checks_header_on_miss && rules_.header_before_cells) {
      if (load.acquire(primary.header) != header) return ReadResult::again();
      if (!rules_.version_covers_chain && visits_overflow && load.acquire(kOverflow.header) != overflow_header) {
        return ReadResult::again();
      }
    }
    return change_is_same(load, change) ? ReadResult::miss() : ReadResult::again();
  }

  std::string describe(int where, Word value) const {
    if (where == kDirectory) return std::string("directory: ") + (value != 0 ? "two segments" : "one segment");
    if (where == kTwin) return std::string("twin word = ") + (value != 0 ? "purge" : "none");
    if (where == kFillNumber) return "fill = " + std::to_string(value);
    if (where == kTurns) return "turns = " + std::to_string(value);
    for (const Bucket& bucket : {kOld, kNew, kOverflow}) {
      if (!bucket.contains(where)) continue;
      const std::string name = bucket.name;
      if (where == bucket.header) {
        const Header header(value);
        return name + ".header = {version " + std::to_string(header.version) + ", fill " + std::to_string(header.fill) +
               "}";
      }
      return name + ".cell" + std::to_string(where - bucket.cell(0)) + " = " +
             (value == 0 ? "0"
              : value == kLink
                  ? "link to overflow"
                  : "entry " + std::to_string(entry_of(value).number) + ((value & kTouched) != 0 ? ", touched" : ""));
    }
    const Entry entry{(where - 12) / 4 + 1};
    const std::string name = "entry " + std::to_string(entry.number);
    if (where == entry.key()) return name + ".key = " + std::string(1, "-KLJ"[value & 3]);
    if (where == entry.generation()) return name + ".page generation = " + std::to_string(value);
    return name + (where == entry.first_half() ? ".first half = " : ".second half = ") + std::to_string(value);
  }

 private:
  static constexpr int kNowhere = -1;

  Order release(Access access) const { return rules_.relaxed == access ? Order::kRelaxed : Order::kRelease; }
  static Word bit(Entry entry) { return static_cast<Word>(1U << entry.number); }
  bool moves(Word key) const { return (rules_.moving >> key & 1) != 0; }
  Bucket home(Word directory, Key key) const { return directory != 0 && moves(key) ? kNew : kOld; }

  struct Change {
    Word fill;
    Word turns;
  };
  template <typename Loads>
  bool change_is_same(Loads& load, const Change& change) const {
    return (!rules_.checks_turns || load.relaxed(kTurns) == change.turns) && load.relaxed(kFillNumber) == change.fill;
  }
  void turn(Request<Server>& request) const {
    request.store(kTurns, request.load(kTurns) + 1, release(Access::kTurnStore));
    request.release_fence();
  }

  // The value of an entry with the right key.
  template <typename Loads>
  ReadResult read_value(Loads& load, Entry entry, const Bucket& covering, Word header, const Change& change) const {
    const auto is_linked = [&] { return load.acquire(covering.header) == header && change_is_same(load, change); };
    Word generation = 0;
    if (rules_.has_long_values) {
      generation = load.acquire(entry.generation());
      if (rules_.reader_fences) load.acquire_fence();
      if (rules_.checks_header_after_generation && !is_linked()) return ReadResult::again();
    }
    const Word first = load.relaxed(entry.first_half());
    const Word second = load.relaxed(entry.second_half());
    if (rules_.reader_fences) load.acquire_fence();
    if (rules_.has_long_values) {
      if (rules_.checks_generation && load.relaxed(entry.generation()) != generation) {
        return ReadResult::again();
      }
    } else if (rules_.checks_header_on_hit && !is_linked()) {
      return ReadResult::again();
    }
    if (first != second && !rules_.overwrites_in_place) return ReadResult::torn();
    return ReadResult::hit(first);
  }

  // All cells but a link.
  template <typename Load>
  static std::vector<int> cells_of_chain(const Load& load, const Bucket& primary) {
    if (load(primary.last_cell()) != kLink) return {primary.cell(0), primary.cell(1)};
    return {primary.cell(0), kOverflow.cell(0), kOverflow.cell(1)};
  }

  template <typename Load>
  int find(const Load& load, Key key) const {
    const Bucket primary = home(load(kDirectory), key);
    if (Header(load(primary.header)).fill != (load(kFillNumber) & 3)) return kNowhere;
    for (const int cell : cells_of_chain(load, primary)) {
      if (load(cell) != 0 && load(entry_of(load(cell)).key()) == key) return cell;
    }
    return kNowhere;
  }

  static auto loader(const Request<Server>& request) {
    return [&request](int where) { return request.load(where); };
  }

  static bool is_stale(const Request<Server>& request, const Bucket& bucket) {
    return Header(request.load(bucket.header)).fill != (request.load(kFillNumber) & 3);
  }

  static bool overflow_is_used(const Request<Server>& request) {
    return request.load(kOld.last_cell()) == kLink || request.load(kNew.last_cell()) == kLink;
  }

  void bump(Request<Server>& request, const Bucket& bucket) const {
    const Header header(request.load(bucket.header));
    request.store(bucket.header, Header(header.version + 1, header.fill).word(), release(Access::kBumpStore));
  }

  // A cell that named an entry gets another word; the entry's memory is free afterwards.
  void swing(Request<Server>& request, const Bucket& primary, int cell, Word word) const {
    const Word before = request.load(cell);
    const bool own = !rules_.version_covers_chain && cell >= kOverflow.header;
    const Bucket covering = own ? kOverflow : primary;
    if (before != 0 && rules_.bump == Bump::kBeforeCell) bump(request, covering);
    request.store(cell, word, release(Access::kCellStore));
    if (before == 0) return;
    if (rules_.bump == Bump::kAfterCell) bump(request, covering);
    request.own(0) = static_cast<Word>(request.own(0) & ~bit(entry_of(before)));
  }

  // The first touch of a bucket of an earlier fill: all is unlinked, then one header store makes it
  // a bucket of this fill, and bumps it.
  void reset_if_stale(Request<Server>& request, const Bucket& primary) const {
    if (!is_stale(request, primary)) return;
    for (const int cell : cells_of_chain(loader(request), primary)) {
      if (request.load(cell) == 0) continue;
      const Word mark = bit(entry_of(request.load(cell)));
      request.own(0) = static_cast<Word>(request.own(0) & ~mark);
      request.store(cell, 0);
    }
    if (request.load(primary.last_cell()) != 0) request.store(primary.last_cell(), 0);
    const Header header(request.load(primary.header));
    request.store(primary.header, Header(header.version + 1, request.load(kFillNumber) & 3).word());
  }

  // The last cell moves to the overflow bucket, and becomes the link.
  void link_overflow(Request<Server>& request, const Bucket& primary) const {
    if (rules_.release_fence_before_reuse) request.release_fence();
    request.store(kOverflow.cell(0), request.load(primary.last_cell()), Order::kRelaxed);
    request.store(kOverflow.cell(1), 0, Order::kRelaxed);
    request.store(primary.last_cell(), kLink, release(Access::kLinkStore));
  }

  // The key's cell, or an empty one, after linking if need be; kNowhere when the chain is full.
  int cell_for(Request<Server>& request, const Bucket& primary, Key key) const {
    const int cell = find(loader(request), key);
    if (cell != kNowhere) return cell;
    for (const int empty : cells_of_chain(loader(request), primary)) {
      if (request.load(empty) == 0) return empty;
    }
    if (overflow_is_used(request)) return kNowhere;
    link_overflow(request, primary);
    return kOverflow.cell(1);
  }

  // Memory for an entry; nothing in shared memory shows that it is taken, until a cell names it.
  int take_entry(Request<Server>& request, Key key) const {
    for (Entry entry{1}; entry.number <= kEntries; ++entry.number) {
      if ((request.own(0) & bit(entry)) != 0) continue;
      request.own(0) = static_cast<Word>(request.own(0) | bit(entry));
      if (rules_.has_long_values && (rules_.generation_is_beside_arena || key == kK)) {
        request.store(entry.generation(), request.load(entry.generation()) + 1, release(Access::kGenerationStore));
      }
      return entry.number;
    }
    return 0;
  }

  template <typename Offer>
  void offer_put(const Server& server, Key key, Offer& offer) const {
    Request<Server> request(server);
    const Bucket primary = home(request.load(kDirectory), key);
    reset_if_stale(request, primary);
    const int cell = cell_for(request, primary, key);
    if (cell == kNowhere) return;
    const Entry entry{take_entry(request, key)};
    if (entry.number == 0) return;
    const bool fences = rules_.has_long_values ? rules_.fence_after_generation : rules_.release_fence_before_reuse;
    if (fences) request.release_fence();
    const Word value = request.new_value();
    request.store(entry.key(), key, Order::kRelaxed);
    request.store(entry.first_half(), value, Order::kRelaxed);
    request.store(entry.second_half(), value, Order::kRelaxed);
    swing(request, primary, cell, static_cast<Word>(entry.number));
    if (key == kK) request.sets_content(value);
    offer(request);
  }

  // An erase, or an eviction: an unlink that no request names.
  template <typename Offer>
  void offer_erase(const Server& server, Key key, Offer& offer) const {
    Request<Server> request(server);
    const int cell = find(loader(request), key);
    if (cell == kNowhere) return;
    swing(request, home(request.load(kDirectory), key), cell, 0);
    if (key == kK) request.sets_content(0);
    offer(request);
  }

  template <typename Offer>
  void offer_overwrite(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    const int cell = find(loader(request), kK);
    if (cell == kNowhere) return;
    const Word value = request.new_value();
    request.store(entry_of(request.load(cell)).first_half(), value);
    request.sets_content(value);
    offer(request);
  }

  // A get or put of K, or the hand of the eviction.
  template <typename Offer>
  void offer_touch(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    const int cell = find(loader(request), kK);
    if (cell == kNowhere) return;
    request.store(cell, request.load(cell) ^ kTouched, release(Access::kTouchStore));
    offer(request);
  }

  template <typename Offer>
  void offer_split(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (request.load(kDirectory) != 0) return;
    reset_if_stale(request, kOld);
    std::vector<Word> moved;
    for (const int cell : cells_of_chain(loader(request), kOld)) {
      const Word word = request.load(cell);
      if (word != 0 && moves(request.load(entry_of(word).key()))) moved.push_back(word);
    }
    if (moved.size() > 2) return;  // the new bucket has no room for more
    moved.resize(2);
    request.store(kNew.cell(0), moved[0], Order::kRelaxed);
    request.store(kNew.cell(1), moved[1], Order::kRelaxed);
    request.store(kNew.header, Header(1, request.load(kFillNumber) & 3).word());
    request.store(kTwin, 1);
    request.store(kDirectory, 1, release(Access::kPublishStore));
    if (rules_.turns_after_split) turn(request);
    remove_moved(request);
    request.store(kTwin, 0);
    offer(request);
  }

  void remove_moved(Request<Server>& request) const {
    bool changes = false;
    for (const int cell : cells_of_chain(loader(request), kOld)) {
      const Word word = request.load(cell);
      if (word == 0 || !moves(request.load(entry_of(word).key()))) continue;
      request.store(cell, 0, release(Access::kRemovalStore));
      changes = true;
    }
    if (request.load(kOld.last_cell()) == kLink && request.load(kOverflow.cell(0)) == 0 &&
        request.load(kOverflow.cell(1)) == 0) {
      request.store(kOld.last_cell(), 0, release(Access::kRemovalStore));
      changes = true;
    }
    if (!changes || !rules_.split_bumps) return;
    bump(request, kOld);
    if (!rules_.version_covers_chain) bump(request, kOverflow);
  }

  template <typename Offer>
  void offer_clear(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (request.load(kFillNumber) == rules_.clears || is_stale(request, kOld)) return;
    if (request.load(kDirectory) != 0 && is_stale(request, kNew)) return;
    request.store(kFillNumber, request.load(kFillNumber) + 1);
    request.sets_content(0);
    offer(request);
  }

  // The sweep that resets what a clear has left.
  template <typename Offer>
  void offer_reset(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    reset_if_stale(request, kOld);
    if (request.load(kDirectory) != 0 || !rules_.sweep_leaves_unpublished_buckets) {
      reset_if_stale(request, kNew);
    }
    if (!request.stores().empty()) offer(request);
  }

  const Rules rules_;
};

std::vector<Case> cases() {
  constexpr auto holds = TableCases<EntriesModel, Rules>::holds;
  constexpr auto broken = TableCases<EntriesModel, Rules>::broken;
  constexpr Memory kProgram = Memory::kProgramOrder;
  constexpr Memory kCpp = Memory::kCppOrder;
  constexpr unsigned kKStays = bit_of(kL) | bit_of(kJ);
  return {
      holds("program order, K and L move", kProgram, {{3, 4}}, {}),
      holds("program order, bucket full, K in its last cell", kProgram, {{3, 4}}, {.starts_full = true}),
      holds("program order, bucket full, K stays", kProgram, {{3, 4}}, {.moving = kKStays, .starts_full = true}),
      holds("program order, bucket full, cells loaded from the last to the first", kProgram, {{3, 4}},
            {.starts_full = true, .loads_cells_backwards = true}),
      holds("program order, two kills", kProgram, {{2, 3}, 2}, {}),
      holds("program order, two kills, bucket full", kProgram, {{2, 3}, 2}, {.starts_full = true}),
      holds("program order, clear, a kill", kProgram, {{3, 4}, 1}, {.clears = 2}),
      holds("program order, clear, a kill, bucket full", kProgram, {{2, 3}, 1}, {.starts_full = true, .clears = 2}),
      holds("program order, clear, a kill, split before, K stays", kProgram, {{3, 4}, 1},
            {.moving = kKStays, .starts_split = true, .clears = 1}),
      holds("program order, clears by another worker inside requests", kProgram, {{2, 3}, 0, 2}, {.starts_full = true}),
      holds("program order, clears by another worker, a kill", kProgram, {{2, 3}, 1, 2}, {}),
      holds("program order, long values, a kill", kProgram, {{2, 3}, 1},
            {.starts_full = true, .has_long_values = true}),
      holds("program order, overwrites in place, a kill", kProgram, {{3, 4}, 1}, {.overwrites_in_place = true}),
      holds("program order, touched bits, a kill", kProgram, {{2, 3}, 1}, {.starts_full = true, .touches = true}),
      holds("C++ order, touched bits", kCpp, {{3, 4}}, {.starts_full = true, .touches = true}),
      holds("C++ order, K and L move", kCpp, {{3, 5}}, {}),
      holds("C++ order, bucket full, K in its last cell", kCpp, {{3, 5}}, {.starts_full = true}),
      holds("C++ order, bucket full, K stays", kCpp, {{3, 5}}, {.moving = kKStays, .starts_full = true}),
      holds("C++ order, a kill", kCpp, {{2, 4}, 1}, {.starts_full = true}),
      holds("C++ order, clear", kCpp, {{3, 5}}, {.clears = 2}),
      holds("C++ order, clears by another worker", kCpp, {{3, 3}, 0, 2}, {.starts_full = true}),
      holds("C++ order, long values", kCpp, {{3, 5}}, {.starts_full = true, .has_long_values = true}),
      holds("C++ order, overwrites in place", kCpp, {{3, 5}}, {.overwrites_in_place = true}),
      holds("C++ order, the cells that a split empties may be stored relaxed, after the turn and its fence", kCpp,
            {{3, 5}}, {.relaxed = Access::kRemovalStore}),
      broken("no header check on a hit", kProgram, {{4, 4}}, {.checks_header_on_hit = false}),
      broken("no header check on a miss", kProgram, {{4, 4}}, {.checks_header_on_miss = false}),
      broken("the change word is not loaded again", kProgram, {{4, 4}}, {.checks_turns = false}),
      broken("no turn after a split", kProgram, {{4, 4}}, {.turns_after_split = false}),
      broken("header loaded after the cell", kProgram, {{4, 4}}, {.header_before_cells = false}),
      broken("version raised before the cell", kProgram, {{4, 4}}, {.bump = Bump::kBeforeCell}),
      broken("version not raised", kProgram, {{4, 4}}, {.bump = Bump::kNever}),
      broken("each bucket its own version, the last cell becomes the link without a bump", kProgram, {{5, 5}},
             {.starts_full = true, .version_covers_chain = false}),
      broken("split does not raise the version", kProgram, {{5, 5}},
             {.moving = kKStays, .starts_full = true, .split_bumps = false}),
      broken("no turn at a restart", kProgram, {{4, 4}, 1}, {.recovery_turns = false}),
      broken("a sweep frees what a killed split left in an unpublished bucket", kProgram, {{6, 6}, 1},
             {.clears = 1, .sweep_leaves_unpublished_buckets = false}),
      broken("recovery takes the entries of stale buckets as free", kProgram, {{3, 3}, 1},
             {.starts_split = true, .starts_with_j = true, .clears = 1, .recovery_marks_stale_buckets = false}),
      broken("recovery does not finish a split in a stale bucket", kProgram, {{3, 3}, 1, 2},
             {.recovery_removes_in_stale_bucket = false}),
      broken("long values: a generation where other entries have payload", kProgram, {{4, 4}},
             {.has_long_values = true, .generation_is_beside_arena = false}),
      broken("long values: header not checked after the generation", kProgram, {{4, 4}},
             {.has_long_values = true, .checks_header_after_generation = false}),
      broken("long values: generation not checked after the copy", kProgram, {{4, 4}},
             {.has_long_values = true, .checks_generation = false}),
      broken("no release fence before memory is used again", kCpp, {{4, 4}}, {.release_fence_before_reuse = false}),
      broken("long values: no release fence after the generation", kCpp, {{4, 4}},
             {.has_long_values = true, .fence_after_generation = false}),
      broken("directory loaded relaxed", kCpp, {{3, 3}, 1}, {.relaxed = Access::kDirectoryLoad}),
      broken("header loaded relaxed", kCpp, {{4, 4}}, {.relaxed = Access::kHeaderLoad}),
      broken("a candidate is not loaded again with acquire", kCpp, {{4, 4}}, {.relaxed = Access::kCandidateLoad}),
      broken("the link is not loaded again with acquire", kCpp, {{4, 4}},
             {.starts_full = true, .relaxed = Access::kLinkLoad}),
      broken("cell stored relaxed", kCpp, {{4, 4}}, {.relaxed = Access::kCellStore}),
      broken("a touched bit is stored relaxed", kCpp, {{4, 4}}, {.touches = true, .relaxed = Access::kTouchStore}),
      broken("link stored relaxed", kCpp, {{4, 4}}, {.starts_full = true, .relaxed = Access::kLinkStore}),
      broken("version stored relaxed", kCpp, {{4, 4}}, {.relaxed = Access::kBumpStore}),
      broken("long values: generation stored relaxed", kCpp, {{4, 4}},
             {.has_long_values = true, .relaxed = Access::kGenerationStore}),
      broken("turn stored relaxed", kCpp, {{4, 4}, 1}, {.relaxed = Access::kTurnStore}),
      broken("turns loaded relaxed at first", kCpp, {{4, 4}, 1}, {.relaxed = Access::kTurnsLoad}),
      broken("directory stored relaxed", kCpp, {{4, 4}}, {.relaxed = Access::kPublishStore}),
      broken("no acquire fence before the header is loaded again", kCpp, {{4, 4}}, {.reader_fences = false}),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "entries", hostmap::models::cases()); }
