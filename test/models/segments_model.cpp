// Model: reading while segments of buckets are split, merged and moved, and their memory is given to other uses.
//
// Modelled: the change word, state and directory (three levels), four slabs. A slab is a segment of one bucket, which has two
// places, or it is free for anything: then a client chooses its bytes, which may be those of a header, key and value. Put,
// overwrite and erase; a split in its steps (copy, publish, purge), or given up; a merge into a third slab, or one for which
// there is no memory; the move of a segment; payload by this lane, or by another one at any moment at which the slab is free;
// kills, and the restart, which is killed, too. Key K is read; L shares its bucket, M has another prefix.
//
// The writer's rules (each can be broken, see Rules and the cases at the end):
//   take       a free slab, then a release fence; versions begin at 1 again
//   copy       the moving half of the old bucket into the new one, to which nothing leads; whoever changes the old
//              bucket copies it again
//   publish    twin word = purge, fence; the directory's word (release), the words of the next level; turn (release); fence
//   purge      header {version + 1, without what moved} (release), before the new bucket is changed; then twin word = none.
//              Pairs: what moved is what the directory sends elsewhere; entries: what is in the new bucket, too
//   merge      both buckets into a third one; twin word = {it, merge}, fence; the word of the level before, both words
//              (release); turn; twin word = none; only then are both slabs free
//   move       likewise; of a segment that is split already by one word, without the twin word
//   depth      one store of the state (release), at whose moment both levels lead to the same segments
//   restart    turn, fence, before anything else; the second word, if only the first one was replaced, and a turn; what the
//              twin word names is purged; the words of the other levels; slabs to which nothing leads are free
// The reader's:
//   change word, state, directory word, header (acquire each), keys, value, acquire fence; header (acquire), change word:
//   both are what they were, for a hit and for a miss
//
// Simplified: one bucket per segment (purge and publish are requests of their own, so others come between), no overflow
// buckets, no clears, words of 16 bits. pairs_model.cpp and entries_model.cpp have chains and clears.

#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "cases.hpp"
#include "table_cases.hpp"
#include "table_model.hpp"

namespace hostmap::models {
namespace {

enum Key : Word { kNoKey, kK, kL, kM };
constexpr std::array kKeys = {kK, kL, kM};

// Where the words lie. The directory, in heap order, is words 1 to 7.
constexpr int kChange = 0;
constexpr int kState = 8;  // the depth
constexpr int kTwin = 9;   // {slab | phase:2}
constexpr int kMostDepth = 2;
constexpr int kSlabs = 4;
constexpr int kPlaces = 2;
constexpr int kNowhere = 0;  // no slab
struct Slab {
  int number;  // from 1 on

  int header() const { return 10 + (number - 1) * 5; }
  int key(int place) const { return header() + 1 + place; }
  int value(int place) const { return header() + 1 + kPlaces + place; }
  int used() const { return 10 + kSlabs * 5 + number - 1; }  // server's own, but stored in order with the others
  bool contains(int where) const { return where >= header() && where < header() + 5; }
};
constexpr std::size_t kWords = 10 + kSlabs * 6;

enum TwinPhase : Word { kNone, kPurge, kMerge };
constexpr Word twin_word(int slab, TwinPhase phase) { return static_cast<Word>(slab << 2 | phase); }
constexpr TwinPhase phase_of(Word twin) { return static_cast<TwinPhase>(twin & 3); }
constexpr int slab_of(Word twin) { return twin >> 2; }

// {version | occupancy:2}
struct Header {
  int version;
  int occupancy;

  explicit Header(Word word) : version(word >> 2), occupancy(word & 3) {}
  Header(int version_, int occupancy_) : version(version_), occupancy(occupancy_) {}
  bool holds(int place) const { return (occupancy >> place & 1) != 0; }
  Word word() const { return static_cast<Word>(version << 2 | occupancy); }
};

// What a client puts where a bucket may be expected.
constexpr Word kForgedValue = 15;
const Word kForgedHeader = Header(1, 0b01).word();
const Word kForgedEmptyHeader = Header(1, 0).word();

// The server's own memory: a kill takes it.
enum Own { kSegments, kFrom, kTo, kPublished, kOwnWords };

// An access that is acquire or release by the rules.
enum class Access {
  kNone,
  kFirstChangeLoad,
  kStateLoad,
  kWordLoad,
  kHeaderLoad,
  kHeaderAgainLoad,
  kTurn,
  kPublishStore,
  kBuildStore,
  kPurgeStore,
};

enum class When { kBefore, kAfter, kNever };
enum class LastLoads { kHeaderThenChange, kChangeThenHeader, kHeaderOnly, kChangeOnly };

struct Rules {
  // The situation.
  // 0: one segment; 1: two, each behind a word of its own; 2: two, each behind two words.
  int start_depth = 0;
  bool starts_merged =
      false;              // one segment behind two words, after others: those of the next level lead to free memory
  int fraction_of_k = 2;  // two bits; L's are the same
  int fraction_of_m = 0;
  bool moves_segments = false;
  bool erases = true;
  bool puts_m = true;
  bool another_lane = false;  // stores payload into free slabs at any moment
  bool merges_fail = false;   // for lack of memory, after the depth was lowered
  bool purges_by_key = true;  // as pairs are; else as entries are
  // The protocol; another value is a broken variant, unless a case below says that it holds.
  When turn_when_replaced = When::kBefore;  // before the slabs are free
  When turn_when_split = When::kBefore;     // before the purge; kAfter: the purge comes at once, and then the turn
  bool turns_after_publishing = true;       // else before
  bool purges_before_changes = true;
  bool copies_again = true;
  When twin_mark = When::kBefore;  // the publishing of a split
  When restart_turn = When::kBefore;
  bool restart_completes_words = true;
  bool restart_purges = true;
  bool writes_ahead = true;
  bool replaces_level_before = true;
  bool releases_words_ahead = true;
  bool turns_after_completing = true;
  bool take_fences = true;
  bool purge_fences = true;
  LastLoads last_loads = LastLoads::kHeaderThenChange;
  bool change_first = true;  // else after the directory's word
  bool reader_fences = true;
  Access relaxed = Access::kNone;  // this one is only relaxed
};

class SegmentsModel {
 public:
  using Server = ServerMemory<kWords, kOwnWords>;
  using SharedWords = std::array<Word, kWords>;

  explicit SegmentsModel(const Rules& rules) : rules_(rules) {}

  static auto loader(const Request<Server>& request) {
    return [&request](int where) { return request.load(where); };
  }

  Server start() const {
    Server server;
    const auto set = [&](int where, int value) {
      server.shared[static_cast<std::size_t>(where)] = static_cast<Word>(value);
    };
    // All slabs were payload before.
    for (int number = 1; number <= kSlabs; ++number) {
      const Slab slab{number};
      set(slab.header(), kForgedHeader);
      set(slab.key(0), kK);
      set(slab.value(0), kForgedValue);
    }
    const int segments = rules_.start_depth == 0 || rules_.starts_merged ? 1 : 2;
    set(kState, rules_.start_depth);
    for (int depth = 0; depth <= kMostDepth; ++depth) {
      for (int prefix = 0; prefix < 1 << depth; ++prefix) {
        set(1 << depth | prefix, segments == 2 && depth > 0 && prefix >> (depth - 1) != 0 ? 2 : 1);
      }
    }
    for (int prefix = 0; rules_.starts_merged && prefix < 1 << kMostDepth; ++prefix) {
      set(1 << kMostDepth | prefix, kSlabs);
    }
    for (int number = 1; number <= segments; ++number) {
      const Slab slab{number};
      set(slab.used(), 1);
      set(slab.header(), Header(1, 0).word());
    }
    const Slab home{server.shared[static_cast<std::size_t>(1 << rules_.start_depth |
                                                           rules_.fraction_of_k >> (2 - rules_.start_depth))]};
    set(home.header(), Header(1, 0b01).word());
    set(home.key(0), kK);
    set(home.value(0), ++server.values_given);
    server.own[kSegments] = static_cast<Word>(segments);
    return server;
  }

  Word content(const SharedWords& memory) const {
    const auto load = [&](int where) { return memory[static_cast<std::size_t>(where)]; };
    const Slab home{load(index_of(load, kK))};
    const int place = place_of(load, home, kK);
    return place == kNoPlace ? Word{0} : load(home.value(place));
  }

  template <typename Offer>
  void offer_requests(const Server& server, Offer offer) const {
    for (const Key key : kKeys) {
      if (key == kM && !rules_.puts_m) continue;
      offer_put(server, key, offer);
      if (rules_.erases) offer_erase(server, key, offer);
    }
    if (server.own[kTo] == kNowhere) {
      offer_copy(server, offer);
      offer_merge(server, offer);
      if (rules_.moves_segments) offer_moves(server, offer);
    } else if (server.own[kPublished] == 0) {
      offer_publish(server, offer);
      offer_abandon(server, offer);
    } else {
      offer_purge(server, offer);
    }
    if (!rules_.another_lane) offer_payload(server, offer);
  }

  // One store of another lane, of bytes that a client chose, into a slab that it takes and returns.
  template <typename Offer>
  void offer_stores_of_others(const Server& server, Offer offer) const {
    if (!rules_.another_lane) return;
    for (int number = 1; number <= kSlabs; ++number) {
      const Slab slab{number};
      if (server.shared[static_cast<std::size_t>(slab.used())] != 0) continue;
      offer(slab.header(), kForgedHeader);
      offer(slab.header(), kForgedEmptyHeader);
      offer(slab.key(0), kK);
      offer(slab.value(0), kForgedValue);
    }
  }

  void recover(Request<Server>& request) const {
    if (rules_.restart_turn == When::kBefore) turn(request, true);
    if (!is_plausible(loader(request))) return give_up(request);
    const Word twin = request.load(kTwin);
    const int depth = depth_of(request);
    request.own(kSegments) = count_segments(loader(request));
    for (int prefix = 0; prefix < prefixes(depth); ++prefix) {
      if (rules_.restart_completes_words && is_half_replaced(loader(request), prefix)) {
        replace_both(request, prefix, slab_of(twin), rules_.turns_after_completing ? When::kBefore : When::kNever);
      }
    }
    const bool purges = phase_of(twin) == kPurge && depth > 0 && split(request) > 0;
    if (purges && rules_.restart_purges) {
      const auto [left, right] = last_halves(request);
      purge(request, left, right);
    }
    for (int prefix = 0; prefix < prefixes(depth); ++prefix) {
      if (prefix < split(request)) {
        write_ahead(request, depth, prefix);
      } else {
        set_word(request, depth - 1, prefix, word(request, depth, 2 * prefix), Order::kRelaxed);
      }
    }
    if (depth == 0) write_ahead_of_root(request);
    if (phase_of(twin) != kNone) mark(request, twin_word(kNowhere, kNone));
    if (rules_.restart_turn == When::kAfter) turn(request, true);
    for (int number = 1; number <= kSlabs; ++number) {
      const bool used = leads_to(loader(request), number);
      if ((request.load(Slab{number}.used()) != 0) != used) {
        request.store(Slab{number}.used(), used ? 1 : 0, Order::kRelaxed);
      }
    }
  }

  const char* rebuild(Server& server) const {
    const auto load = [&](int where) { return server.shared[static_cast<std::size_t>(where)]; };
    server.own = {};
    server.own[kSegments] = count_segments(load);
    for (const Key key : kKeys) {
      int places = 0;
      for (int number = 1; number <= kSlabs; ++number) {
        if (!leads_to(load, number)) continue;
        const Slab slab{number};
        for (int place = 0; place < kPlaces; ++place) {
          if (!Header(load(slab.header())).holds(place) || load(slab.key(place)) != key) continue;
          ++places;
          if (load(index_of(load, key)) != number) return "after the restart a key is where no reader finds it";
        }
      }
      if (places > 1) return "after the restart a key has two places";
    }
    return nullptr;
  }

  template <typename Loads>
  ReadResult read(Loads& load) const {
    const auto load_acquire = [&](int where, Access access) {
      return rules_.relaxed == access ? load.relaxed(where) : load.acquire(where);
    };
    Word change = 0;
    if (rules_.change_first) change = load_acquire(kChange, Access::kFirstChangeLoad);
    const Word depth = load_acquire(kState, Access::kStateLoad);
    const Slab slab{load_acquire(index_at(depth, kK), Access::kWordLoad)};
    if (slab.number == kNowhere) return ReadResult::again();
    if (!rules_.change_first) change = load_acquire(kChange, Access::kFirstChangeLoad);
    const Word seen = load_acquire(slab.header(), Access::kHeaderLoad);
    ReadResult result = ReadResult::miss();
    for (int place = 0; place < kPlaces; ++place) {
      if (!Header(seen).holds(place) || load.relaxed(slab.key(place)) != kK) continue;
      result = ReadResult::hit(load.relaxed(slab.value(place)));
      break;
    }
    if (rules_.reader_fences) load.acquire_fence();
    return is_unchanged(load, slab, seen, change) ? result : ReadResult::again();
  }

  std::string describe(int where, Word value) const {
    if (where == kChange) return "change word = " + std::to_string(value);
    if (where == kState) return "state = {depth " + std::to_string(value) + "}";
    if (where == kTwin) {
      const char* const phases[] = {"none", "purge", "merge", "?"};
      return std::string("twin word = {") + phases[value & 3] + ", slab " + std::to_string(slab_of(value)) + "}";
    }
    if (where < kState) {
      const int depth = where < 2 ? 0 : where < 4 ? 1 : 2;
      return "directory word of depth " + std::to_string(depth) + ", prefix " + std::to_string(where - (1 << depth)) +
             " = slab " + std::to_string(value);
    }
    for (int number = 1; number <= kSlabs; ++number) {
      const Slab slab{number};
      const std::string name = "slab " + std::to_string(number);
      if (where == slab.used()) return name + (value != 0 ? " is taken" : " is free");
      if (!slab.contains(where)) continue;
      if (where == slab.header()) {
        const Header header(value);
        std::string text = name + ".header = {version " + std::to_string(header.version) + ", places";
        for (int place = 0; place < kPlaces; ++place) text += header.holds(place) ? " 1" : " 0";
        return text + "}";
      }
      const bool is_key = where < slab.value(0);
      const int place = where - (is_key ? slab.key(0) : slab.value(0));
      return name + (is_key ? ".key" : ".value") + std::to_string(place) + " = " +
             (is_key                  ? std::string(1, "-KLM"[value & 3])
              : value == kForgedValue ? "forged"
                                      : std::to_string(value));
    }
    return "?";
  }

 private:
  static constexpr int kNoPlace = -1;

  Order release(Access access) const { return rules_.relaxed == access ? Order::kRelaxed : Order::kRelease; }

  // --- Finding

  int fraction(Key key) const { return key == kM ? rules_.fraction_of_m : rules_.fraction_of_k; }
  int index_at(int depth, Key key) const { return 1 << depth | fraction(key) >> (kMostDepth - depth); }
  template <typename Load>
  int index_of(const Load& load, Key key) const {
    return index_at(load(kState), key);
  }
  template <typename Load>
  static int place_of(const Load& load, Slab slab, Key key) {
    const Header header(load(slab.header()));
    for (int place = 0; place < kPlaces; ++place) {
      if (header.holds(place) && load(slab.key(place)) == key) return place;
    }
    return kNoPlace;
  }
  // Does a word of the current depth lead to this slab?
  template <typename Load>
  static bool leads_to(const Load& load, int number) {
    const int depth = load(kState);
    for (int prefix = 0; prefix < 1 << depth; ++prefix) {
      if (load(1 << depth | prefix) == number) return true;
    }
    return false;
  }

  template <typename Loads>
  bool is_unchanged(Loads& load, Slab slab, Word seen, Word change) const {
    const auto same_header = [&] {
      const bool relaxed = rules_.relaxed == Access::kHeaderAgainLoad;
      return (relaxed ? load.relaxed(slab.header()) : load.acquire(slab.header())) == seen;
    };
    const auto same_change = [&] { return load.relaxed(kChange) == change; };
    switch (rules_.last_loads) {
      case LastLoads::kHeaderOnly:
        return same_header();
      case LastLoads::kChangeOnly:
        return same_change();
      case LastLoads::kChangeThenHeader: {
        const bool same = load.acquire(kChange) == change;
        return same_header() && same;
      }
      case LastLoads::kHeaderThenChange:
        break;
    }
    const bool same = same_header();
    return same_change() && same;
  }

  // --- The directory (src/table/write/directory.cpp)

  static int prefixes(int depth) { return depth == 0 ? 0 : 1 << (depth - 1); }
  static int depth_of(const Request<Server>& request) { return request.load(kState); }
  static int split(Request<Server>& request) {
    const int depth = depth_of(request);
    return request.own(kSegments) - (depth == 0 ? 1 : prefixes(depth));
  }
  static bool all_are_split(Request<Server>& request) { return split(request) == prefixes(depth_of(request)); }
  static int word(const Request<Server>& request, int depth, int prefix) { return request.load(1 << depth | prefix); }
  static void set_word(Request<Server>& request, int depth, int prefix, int slab, Order order) {
    // The same value again changes nothing.
    if (word(request, depth, prefix) != slab) request.store(1 << depth | prefix, slab, order);
  }
  static void set_depth(Request<Server>& request, int depth) { request.store(kState, depth); }
  static void mark(Request<Server>& request, Word twin) {
    request.store(kTwin, twin);
    request.release_fence();
  }
  void turn(Request<Server>& request, bool fences) const {
    request.store(kChange, request.load(kChange) + 1, release(Access::kTurn));
    if (fences) request.release_fence();
  }

  void write_ahead(Request<Server>& request, int depth, int prefix) const {
    if (depth == kMostDepth || !rules_.writes_ahead) return;
    const Order order = rules_.releases_words_ahead ? Order::kRelease : Order::kRelaxed;
    for (int half = 2 * prefix; half <= 2 * prefix + 1; ++half) {
      const int slab = word(request, depth, half);
      set_word(request, depth + 1, 2 * half, slab, order);
      set_word(request, depth + 1, 2 * half + 1, slab, order);
    }
  }
  void write_ahead_of_root(Request<Server>& request) const {
    if (!rules_.writes_ahead) return;
    const Order order = rules_.releases_words_ahead ? Order::kRelease : Order::kRelaxed;
    set_word(request, 1, 0, word(request, 0, 0), order);
    set_word(request, 1, 1, word(request, 0, 0), order);
  }

  template <typename Load>
  static bool is_half_replaced(const Load& load, int prefix) {
    const int depth = load(kState);
    const Word twin = load(kTwin);
    return phase_of(twin) == kMerge && load(1 << depth | 2 * prefix) == slab_of(twin) &&
           load(1 << depth | (2 * prefix + 1)) != slab_of(twin);
  }

  template <typename Load>
  static Word count_segments(const Load& load) {
    const int depth = load(kState);
    int segments = depth == 0 ? 1 : prefixes(depth);
    for (int prefix = 0; prefix < prefixes(depth); ++prefix) {
      const bool is_split = load(1 << depth | 2 * prefix) != load(1 << depth | (2 * prefix + 1));
      if (is_split && !is_half_replaced(load, prefix)) ++segments;
    }
    return static_cast<Word>(segments);
  }

  // Are segments split in the order of their prefixes? Also after a kill.
  template <typename Load>
  static bool is_plausible(const Load& load) {
    const int depth = load(kState);
    bool splits = true;
    for (int prefix = 0; prefix < prefixes(depth); ++prefix) {
      const bool differ = load(1 << depth | 2 * prefix) != load(1 << depth | (2 * prefix + 1));
      const bool is_split = differ && !is_half_replaced(load, prefix);
      if (is_split && !splits) return false;
      splits = is_split;
    }
    return true;
  }
  // A restart that does not understand the directory begins with an empty table.
  static void give_up(Request<Server>& request) {
    for (int number = 1; number <= kSlabs; ++number) request.store(Slab{number}.header(), 0);
  }

  static std::pair<int, int> last_halves(Request<Server>& request) {
    if (split(request) == 0) set_depth(request, depth_of(request) - 1);
    const int prefix = split(request) - 1;
    return {word(request, depth_of(request), 2 * prefix), word(request, depth_of(request), 2 * prefix + 1)};
  }

  void replace_both(Request<Server>& request, int prefix, int slab, When turns) const {
    const int depth = depth_of(request);
    mark(request, twin_word(slab, kMerge));
    if (rules_.replaces_level_before) set_word(request, depth - 1, prefix, slab, Order::kRelaxed);
    set_word(request, depth, 2 * prefix, slab, release(Access::kPublishStore));
    set_word(request, depth, 2 * prefix + 1, slab, release(Access::kPublishStore));
    if (turns == When::kBefore) turn(request, false);
    mark(request, twin_word(kNowhere, kNone));
  }

  // --- Buckets

  struct Pair {
    Word key;
    Word value;
  };
  using Contents = std::vector<Pair>;

  template <typename Wanted>
  static void collect(const Request<Server>& request, Slab slab, Contents& contents, const Wanted& wanted) {
    const Header header(request.load(slab.header()));
    for (int place = 0; place < kPlaces; ++place) {
      const Word key = request.load(slab.key(place));
      if (header.holds(place) && wanted(static_cast<Key>(key)))
        contents.push_back({key, request.load(slab.value(place))});
    }
  }

  void build(Request<Server>& request, Slab slab, const Contents& contents) const {
    int occupancy = 0;
    for (std::size_t place = 0; place < contents.size(); ++place) {
      request.store(slab.key(static_cast<int>(place)), contents[place].key, Order::kRelaxed);
      request.store(slab.value(static_cast<int>(place)), contents[place].value, Order::kRelaxed);
      occupancy |= 1 << place;
    }
    request.store(slab.header(), Header(1, occupancy).word(), release(Access::kBuildStore));
  }

  // Taken: the first store of a request, so at its very beginning.
  int take(Request<Server>& request, int skip = kNowhere) const {
    for (int number = 1; number <= kSlabs; ++number) {
      if (number == skip || request.load(Slab{number}.used()) != 0) continue;
      request.store(Slab{number}.used(), 1, Order::kRelaxed);
      if (rules_.take_fences) request.release_fence();
      return number;
    }
    return kNowhere;
  }
  static void give_back(Request<Server>& request, int number) {
    request.store(Slab{number}.used(), 0, Order::kRelaxed);
  }
  // What is out of use since the words were replaced.
  void retire(Request<Server>& request, const std::vector<int>& slabs) const {
    for (const int number : slabs) give_back(request, number);
    if (rules_.turn_when_replaced == When::kAfter) turn(request, false);
  }

  // --- Requests

  bool moves(Request<Server>& request, Key key) const {
    const int depth = all_are_split(request) ? depth_of(request) + 1 : depth_of(request);
    return (fraction(key) >> (kMostDepth - depth) & 1) != 0;
  }

  // What moves from the segment that is split, into the new one.
  void copy_half(Request<Server>& request) const {
    Contents moving;
    collect(request, Slab{request.own(kFrom)}, moving, [&](Key key) { return moves(request, key); });
    build(request, Slab{request.own(kTo)}, moving);
  }

  void purge(Request<Server>& request, int old, int half) const {
    const Header header(request.load(Slab{old}.header()));
    int left = header.occupancy;
    for (int place = 0; place < kPlaces; ++place) {
      if (!header.holds(place)) continue;
      const auto key = static_cast<Key>(request.load(Slab{old}.key(place)));
      bool moved = request.load(index_of(loader(request), key)) != old;
      if (!rules_.purges_by_key) {
        // An entry is its place in memory, which stands for key and value.
        const int there = place_of(loader(request), Slab{half}, key);
        moved = there != kNoPlace && request.load(Slab{half}.value(there)) == request.load(Slab{old}.value(place));
      }
      if (moved) left &= ~(1 << place);
    }
    if (left == header.occupancy) return;
    request.store(Slab{old}.header(), Header(header.version + 1, left).word(), release(Access::kPurgeStore));
  }

  // The bucket of a key, ready to be changed.
  Slab fresh(Request<Server>& request, Key key) const {
    const Slab home{request.load(index_of(loader(request), key))};
    if (request.own(kPublished) != 0 && home.number == request.own(kTo) && rules_.purges_before_changes) {
      purge(request, request.own(kFrom), request.own(kTo));
    }
    return home;
  }
  void changed(Request<Server>& request, Slab home) const {
    if (request.own(kTo) == kNowhere || request.own(kPublished) != 0 || !rules_.copies_again) return;
    if (home.number == request.own(kFrom)) copy_half(request);
  }

  template <typename Offer>
  void offer_put(const Server& server, Key key, Offer& offer) const {
    Request<Server> request(server);
    const Slab home = fresh(request, key);
    const Word value = request.new_value();
    int place = place_of(loader(request), home, key);
    if (place != kNoPlace) {
      if (key != kK) return;  // the neighbours' values do not matter
      // An entry gets another place in memory, and so its cell another word, while the version rises.
      request.store(home.value(place), value);
    } else {
      const Header header(request.load(home.header()));
      place = !header.holds(0) ? 0 : 1;
      if (header.holds(place)) return;
      request.release_fence();
      request.store(home.key(place), key, Order::kRelaxed);
      request.store(home.value(place), value, Order::kRelaxed);
      request.store(home.header(), Header(header.version + 1, header.occupancy | 1 << place).word());
    }
    changed(request, home);
    if (key == kK) request.sets_content(value);
    offer(request);
  }

  template <typename Offer>
  void offer_erase(const Server& server, Key key, Offer& offer) const {
    Request<Server> request(server);
    const Slab home = fresh(request, key);
    const int place = place_of(loader(request), home, key);
    if (place == kNoPlace) return;
    const Header header(request.load(home.header()));
    request.store(home.header(), Header(header.version + 1, header.occupancy & ~(1 << place)).word());
    changed(request, home);
    if (key == kK) request.sets_content(0);
    offer(request);
  }

  // A split begins.
  template <typename Offer>
  void offer_copy(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (all_are_split(request) && depth_of(request) == kMostDepth) return;
    const int to = take(request);
    if (to == kNowhere) return;
    const int prefix = all_are_split(request) ? 0 : split(request);
    request.own(kFrom) =
        static_cast<Word>(word(request, depth_of(request), all_are_split(request) ? prefix : 2 * prefix));
    request.own(kTo) = static_cast<Word>(to);
    copy_half(request);
    offer(request);
  }

  template <typename Offer>
  void offer_abandon(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    give_back(request, request.own(kTo));
    request.own(kFrom) = request.own(kTo) = kNowhere;
    offer(request);
  }

  template <typename Offer>
  void offer_publish(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (all_are_split(request)) set_depth(request, depth_of(request) + 1);
    const int depth = depth_of(request);
    const int prefix = split(request);
    if (rules_.twin_mark == When::kBefore) mark(request, twin_word(kNowhere, kPurge));
    if (!rules_.turns_after_publishing) turn(request, true);
    set_word(request, depth, 2 * prefix + 1, request.own(kTo), release(Access::kPublishStore));
    if (rules_.twin_mark == When::kAfter) mark(request, twin_word(kNowhere, kPurge));
    write_ahead(request, depth, prefix);
    ++request.own(kSegments);
    request.own(kPublished) = 1;
    if (rules_.turn_when_split == When::kAfter) purge(request, request.own(kFrom), request.own(kTo));
    if (rules_.turns_after_publishing && rules_.turn_when_split != When::kNever) turn(request, rules_.purge_fences);
    offer(request);
  }

  template <typename Offer>
  void offer_purge(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    purge(request, request.own(kFrom), request.own(kTo));
    mark(request, twin_word(kNowhere, kNone));
    request.own(kFrom) = request.own(kTo) = request.own(kPublished) = 0;
    offer(request);
  }

  template <typename Offer>
  void offer_merge(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (request.own(kSegments) < 2) return;
    const int whole = take(request);
    if (whole == kNowhere) return;
    const auto [left, right] = last_halves(request);
    if (rules_.merges_fail) {
      Request<Server> failed(request);
      give_back(failed, whole);
      offer(failed);
    }
    Contents contents;
    for (const int half : {left, right}) collect(request, Slab{half}, contents, [](Key) { return true; });
    if (contents.size() > kPlaces) return;
    build(request, Slab{whole}, contents);
    const int prefix = split(request) - 1;
    --request.own(kSegments);
    replace_both(request, prefix, whole, rules_.turn_when_replaced);
    retire(request, {left, right});
    offer(request);
  }

  // Each segment may move.
  template <typename Offer>
  void offer_moves(const Server& server, Offer& offer) const {
    for (int number = 1; number <= kSlabs; ++number) {
      Request<Server> request(server);
      if (!leads_to(loader(request), number)) continue;
      const int copy = take(request);
      if (copy == kNowhere) return;
      Contents contents;
      collect(request, Slab{number}, contents, [](Key) { return true; });
      build(request, Slab{copy}, contents);
      publish_move(request, number, copy);
      retire(request, {number});
      offer(request);
    }
  }

  void publish_move(Request<Server>& request, int segment, int copy) const {
    const int depth = depth_of(request);
    int at = 0;
    while (word(request, depth, at) != segment) ++at;
    const int prefix = at / 2;
    if (depth > 0 && word(request, depth, at ^ 1) == segment) {
      return replace_both(request, prefix, copy, rules_.turn_when_replaced);
    }
    set_word(request, depth, at, copy, release(Access::kPublishStore));
    if (depth > 0) {
      write_ahead(request, depth, prefix);
    } else {
      write_ahead_of_root(request);
    }
    if (rules_.turn_when_replaced == When::kBefore) turn(request, false);
  }

  // A client's entry comes and goes in a free slab.
  template <typename Offer>
  void offer_payload(const Server& server, Offer& offer) const {
    for (int number = 1; number <= kSlabs; ++number) {
      const Slab slab{number};
      if (server.shared[static_cast<std::size_t>(slab.used())] != 0) continue;
      const auto offer_bytes = [&](const std::vector<std::pair<int, int>>& bytes) {
        Request<Server> request(server);
        request.store(slab.used(), 1, Order::kRelaxed);
        if (rules_.take_fences) request.release_fence();
        for (const auto& [where, value] : bytes) request.store(where, value, Order::kRelaxed);
        give_back(request, number);
        offer(request);
      };
      offer_bytes({{slab.value(0), kForgedValue}});
      offer_bytes({{slab.key(0), kK}, {slab.value(0), kForgedValue}, {slab.header(), kForgedHeader}});
      offer_bytes({{slab.header(), kForgedEmptyHeader}});
    }
  }

  const Rules rules_;
};

// Two segments. K is in the first one, or in the second one; or each segment is behind two words.
constexpr Rules kFirst{.start_depth = 1, .fraction_of_k = 0, .fraction_of_m = 1, .moves_segments = true};
constexpr Rules kSecond{.start_depth = 1, .fraction_of_k = 2, .fraction_of_m = 1, .moves_segments = true};
constexpr Rules kDeep{
    .start_depth = 2, .fraction_of_k = 1, .fraction_of_m = 0, .moves_segments = true, .merges_fail = true};
// One, and words of the next level that lead to memory which is free.
constexpr Rules kMerged{
    .start_depth = 1, .starts_merged = true, .fraction_of_k = 1, .fraction_of_m = 0, .erases = false, .puts_m = false};

// These, except one rule.
template <typename T>
Rules but(Rules rules, T Rules::*rule, T value) {
  rules.*rule = value;
  return rules;
}

std::vector<Case> cases() {
  constexpr auto holds = TableCases<SegmentsModel, Rules>::holds;
  constexpr auto broken = TableCases<SegmentsModel, Rules>::broken;
  constexpr Memory kProgram = Memory::kProgramOrder;
  constexpr Memory kCpp = Memory::kCppOrder;
  return {
      holds("program order, one segment, K moves", kProgram, {{5, 6}}, {}),
      holds("program order, one segment, K stays", kProgram, {{5, 6}}, {.fraction_of_k = 0, .fraction_of_m = 2}),
      holds("program order, one segment, K moves, entries", kProgram, {{4, 5}}, {.purges_by_key = false}),
      holds("program order, segments move", kProgram, {{4, 5}}, {.moves_segments = true}),
      holds("program order, another lane takes what is free", kProgram, {{3, 4}},
            {.moves_segments = true, .another_lane = true}),
      holds("program order, two kills, K moves", kProgram, {{2, 3}, 2}, {.moves_segments = true}),
      holds("program order, a kill, K stays, entries", kProgram, {{4, 5}, 1},
            {.fraction_of_k = 0, .fraction_of_m = 2, .purges_by_key = false}),
      holds("program order, a kill, another lane", kProgram, {{3, 4}, 1}, {.another_lane = true}),
      holds("program order, a kill, two segments, K in the first one", kProgram, {{3, 4}, 1}, kFirst),
      holds("program order, two kills, two segments, K in the second one", kProgram, {{2, 3}, 2}, kSecond),
      holds("program order, a kill, two segments behind two words each", kProgram, {{3, 4}, 1}, kDeep),
      holds("program order, another lane, two segments behind two words each", kProgram, {{2, 3}},
            but(kDeep, &Rules::another_lane, true)),
      holds("C++ order, one segment, K moves", kCpp, {{4, 5}}, {}),
      holds("C++ order, one segment, K stays", kCpp, {{4, 5}}, {.fraction_of_k = 0, .fraction_of_m = 2}),
      holds("C++ order, segments move", kCpp, {{4, 4}}, {.moves_segments = true}),
      holds("C++ order, a kill", kCpp, {{3, 3}, 1}, {.moves_segments = true}),
      holds("C++ order, a kill, two segments, K in the first one", kCpp, {{2, 3}, 1}, kFirst),
      holds("C++ order, a kill, two segments, K in the second one", kCpp, {{2, 3}, 1}, kSecond),
      holds("C++ order, two segments behind two words each", kCpp, {{3, 4}}, kDeep),
      holds("C++ order, a kill, two segments behind two words each", kCpp, {{2, 3}, 1}, kDeep),
      holds("C++ order, one segment after others; the state may be loaded relaxed", kCpp, {{5, 5}},
            but(kMerged, &Rules::relaxed, Access::kStateLoad)),
      holds("C++ order, no fence before the purge, which is release", kCpp, {{4, 4}}, {.purge_fences = false}),
      holds("C++ order, the purge relaxed, after a fence", kCpp, {{4, 4}}, {.relaxed = Access::kPurgeStore}),
      broken("no turn when segments are replaced", kProgram, {{2, 2}},
             {.moves_segments = true, .turn_when_replaced = When::kNever}),
      broken("slabs are free before the turn", kProgram, {{1, 1}},
             {.moves_segments = true, .another_lane = true, .turn_when_replaced = When::kAfter}),
      broken("no turn when a split is published", kProgram, {{3, 3}}, {.turn_when_split = When::kNever}),
      broken("purge before the turn", kProgram, {{2, 2}}, {.turn_when_split = When::kAfter}),
      broken("turn before the publishing of a split", kProgram, {{3, 3}}, {.turns_after_publishing = false}),
      broken("entries: the new bucket changes before the purge", kProgram, {{4, 4}, 1},
             {.purges_by_key = false, .purges_before_changes = false}),
      broken("a bucket that was copied changes, and is not copied again", kProgram, {{3, 3}}, {.copies_again = false}),
      broken("twin word marked after the publishing", kProgram, {{2, 2}, 1}, {.twin_mark = When::kAfter}),
      broken("twin word not marked", kProgram, {{2, 2}, 1}, {.twin_mark = When::kNever}),
      broken("no purge at a restart", kProgram, {{2, 2}, 1}, {.restart_purges = false}),
      broken("no turn at a restart", kProgram, {{2, 2}, 1}, {.moves_segments = true, .restart_turn = When::kNever}),
      broken("turn at the end of a restart", kProgram, {{2, 2}, 1}, {.restart_turn = When::kAfter}),
      broken("the second word is not completed at a restart", kProgram, {{3, 3}, 1},
             but(kSecond, &Rules::restart_completes_words, false)),
      broken("no turn after the second word at a restart", kProgram, {{2, 2}, 1},
             but(kSecond, &Rules::turns_after_completing, false)),
      broken("words of the next level are not written", kProgram, {{3, 3}}, but(kFirst, &Rules::writes_ahead, false)),
      broken("the word of the level before is not replaced", kProgram, {{3, 3}},
             but(kDeep, &Rules::replaces_level_before, false)),
      broken("the header after the change word", kProgram, {{4, 4}},
             {.moves_segments = true, .last_loads = LastLoads::kChangeThenHeader}),
      broken("the change word is not loaded again", kProgram, {{2, 2}},
             {.moves_segments = true, .last_loads = LastLoads::kHeaderOnly}),
      broken("the header is not loaded again", kProgram, {{2, 2}}, {.last_loads = LastLoads::kChangeOnly}),
      broken("the change word is first loaded when the bucket is already found", kProgram, {{2, 2}},
             {.moves_segments = true, .change_first = false}),
      broken("the header is loaded relaxed again: the change word may be older", kCpp, {{4, 4}},
             {.moves_segments = true, .relaxed = Access::kHeaderAgainLoad}),
      broken("words of the next level stored relaxed, after a merge that found no memory", kCpp, {{2, 2}},
             but(kDeep, &Rules::releases_words_ahead, false)),
      broken("no release fence when a slab is taken", kCpp, {{2, 2}}, {.moves_segments = true, .take_fences = false}),
      broken("the purge relaxed, and no fence before it", kCpp, {{4, 4}},
             {.purge_fences = false, .relaxed = Access::kPurgeStore}),
      broken("change word loaded relaxed at first", kCpp, {{2, 2}},
             {.moves_segments = true, .relaxed = Access::kFirstChangeLoad}),
      broken("directory word loaded relaxed", kCpp, {{2, 2}}, {.moves_segments = true, .relaxed = Access::kWordLoad}),
      broken("header loaded relaxed", kCpp, {{2, 2}}, {.relaxed = Access::kHeaderLoad}),
      broken("turn stored relaxed", kCpp, {{2, 2}}, {.moves_segments = true, .relaxed = Access::kTurn}),
      broken("directory word stored relaxed", kCpp, {{2, 2}},
             {.moves_segments = true, .relaxed = Access::kPublishStore}),
      broken("no acquire fence before the last loads", kCpp, {{2, 2}},
             {.moves_segments = true, .reader_fences = false}),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "segments", hostmap::models::cases()); }
