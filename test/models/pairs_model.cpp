// Model: reading pairs while the shard's writer changes them.
//
// Modelled: overwrite in place, insert, erase and reuse of a place, overflow buckets (linked,
// emptied, unlinked, linked again into another chain), the split of a bucket, clear by the fill
// number (by this worker or by another one in the middle of a request), kills, and recovery, which
// is killed, too. The old bucket has two places, the new one (which the split makes) and the
// overflow bucket one each; either may own the overflow bucket. In some cases there is a second overflow bucket, so that a chain
// may have three. Key K is read; L and J come and go beside it. The entries, behind the pairs, are forms_model.cpp; the steps of a split, and memory that is given to other uses,
// segments_model.cpp.
//
// The writer's rules (each can be broken, see Rules and the cases at the end):
//   overwrite  one release store of the value word; the header stays
//   insert     release fence; key, value into a free place; header {version + 1, bit on} (release)
//   erase      header {version + 1, bit off} (release)
//   link       the overflow bucket's header {version + 1, no places} (release), fence, the link,
//              then has-overflow in its owner's header; its version is never reset
//   split      new bucket filled; twin word = purge; the directory's word (release); the change word is turned (release),
//              fence; then one header store per old bucket takes away what moved (the overflow
//              bucket's first) and unlinks it where it is empty; twin word = none
//   gather     after a split or an erase, while the places of a chain without its last bucket suffice: what is in the last
//              bucket is copied into free places (release fence before), those of the chain's first buckets before others.
//              If they are in other buckets than its owner, the owner's link gets a mark, and then
//              each of these buckets a header {version + 1, bits on} (release). At the end the owner's header becomes
//              {version + 1, bits on, no overflow} (release); the last bucket's own header stays until it is linked again
//   clear      fill + 1, one store; a bucket of another fill is empty, and is reset on first touch
//   recovery   the change word is turned, fence; behind a link with a mark: what an earlier bucket has, too, is removed; twin
//              word: the removal is done again, whatever the bucket's fill
// The reader's:
//   change word, directory, header (acquire) before anything else of the bucket; keys and occupancy; value;
//   acquire fence; hit: the header of *this* bucket is what it was (acquire), then the change word; miss: the headers are,
//   then the change word
//
// Simplified: small buckets, one split, words of 16 bits, fill without its wrap. The two parts of the change word, turns and
// fill, are two words, which a reader loads one after the other: that allows all that one load of both does.

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

// Where a bucket's words lie: header, keys, values, link.
struct Bucket {
  int header;
  int places;
  const char* name;

  int key(int place) const { return header + 1 + place; }
  int value(int place) const { return header + 1 + places + place; }
  int link() const { return header + 1 + 2 * places; }
  bool contains(int where) const { return where >= header && where <= link(); }
  bool operator==(const Bucket& other) const { return header == other.header; }
};
constexpr int kDirectory = 0;  // 1: the keys that move have a segment of their own
constexpr int kFillNumber = 1;
constexpr Bucket kOld{2, 2, "old"};
constexpr Bucket kNew{8, 1, "new"};
constexpr Bucket kOverflow{12, 1, "overflow"};
constexpr int kTurns = 16;
constexpr int kTwin = 17;                      // 1: something may have to be purged
constexpr Bucket kSecond{18, 1, "overflow2"};  // used if Rules::long_chains is set
constexpr std::size_t kWords = 22;
// A link is the number of the next bucket's header, and while a gathering moves what is in that bucket, this mark.
constexpr Word kMark = 0x40;

// {version | fill:2 | occupancy:2 | has-overflow:1}
struct Header {
  int version;
  int fill;
  int occupancy;
  bool has_overflow;

  explicit Header(Word word)
      : version(word >> 5), fill(word >> 3 & 3), occupancy(word >> 1 & 3), has_overflow(word & 1) {}
  Header(int version_, int fill_, int occupancy_, bool has_overflow_)
      : version(version_), fill(fill_), occupancy(occupancy_), has_overflow(has_overflow_) {}

  bool holds(int place) const { return (occupancy >> place & 1) != 0; }
  Header next() const { return {version + 1, fill, occupancy, has_overflow}; }
  Header with(int place) const { return {version, fill, occupancy | 1 << place, has_overflow}; }
  Header without(int place) const { return {version, fill, occupancy & ~(1 << place), has_overflow}; }
  Header linked(bool linked) const { return {version, fill, occupancy, linked}; }
  Word word() const { return static_cast<Word>(version << 5 | fill << 3 | occupancy << 1 | (has_overflow ? 1 : 0)); }
};

constexpr unsigned bit_of(Key key) { return 1U << key; }

// An access that is acquire or release by the rules.
enum class Access {
  kNone,
  kTurnsLoad,
  kDirectoryLoad,
  kHeaderLoad,
  kOverflowHeaderLoad,
  kOverwriteStore,
  kInsertHeaderStore,
  kLinkedHeaderStore,
  kEraseHeaderStore,
  kRemovalHeaderStore,
  kGatherHeaderStore,
  kGatherOtherHeaderStore,
  kPublishStore,
  kTurnStore,
};

struct Rules {
  // The situation.
  unsigned moving = bit_of(kK) | bit_of(kL);  // the keys that the split moves
  bool starts_full = false;                   // K in the overflow bucket of a full chain
  bool long_chains = false;                   // J, nothing | L | K in a chain of three: one more than they need
  bool erases_k = true;
  int clears = 0;       // by this worker, as requests
  int fill_values = 4;  // a header has room for so many fill numbers; 2: the second clear wraps
  // The protocol; false is a broken variant, unless a case below says that it holds.
  bool release_fence_before_reuse = true;
  bool version_survives_reuse = true;
  bool clears_only_what_is_swept = true;
  bool recovery_repeats_removal = true;
  bool recovery_turns = true;
  bool gathers = true;  // false holds, too
  bool gathering_marks = true;
  bool gathering_marks_first = true;  // else after the first header
  bool gathering_shows_first = true;  // else it unlinks first
  bool recovery_ends_gathering = true;
  bool reader_checks_header = true;
  bool reader_checks_header_of_place = true;  // else the primary's
  bool reader_checks_headers_on_miss = true;
  bool reader_checks_turns = true;
  bool turns_after_split = true;
  bool reader_compares_fill = true;
  bool reader_fences = true;
  Access relaxed = Access::kNone;  // this one is only relaxed
};

class PairsModel {
 public:
  using Server = ServerMemory<kWords>;
  using SharedWords = std::array<Word, kWords>;
  static constexpr std::size_t kFill = kFillNumber;

  explicit PairsModel(const Rules& rules) : rules_(rules) {}

  Server start() const {
    Server server;
    const auto set = [&](int where, int value) {
      server.shared[static_cast<std::size_t>(where)] = static_cast<Word>(value);
    };
    if (rules_.starts_full) {
      set(kOld.header, Header(3, 0, 0b11, true).word());
      set_pair(server, kOld, 0, kJ);
      set_pair(server, kOld, 1, kL);
      set(kOld.link(), kOverflow.header);
      set(kOverflow.header, Header(1, 0, 0b1, false).word());
      set_pair(server, kOverflow, 0, kK);
    } else if (rules_.long_chains) {
      set(kOld.header, Header(3, 0, 0b1, true).word());
      set_pair(server, kOld, 0, kJ);
      set(kOld.link(), kOverflow.header);
      set(kOverflow.header, Header(2, 0, 0b1, true).word());
      set_pair(server, kOverflow, 0, kL);
      set(kOverflow.link(), kSecond.header);
      set(kSecond.header, Header(1, 0, 0b1, false).word());
      set_pair(server, kSecond, 0, kK);
    } else {
      set(kOld.header, Header(1, 0, 0b1, false).word());
      set_pair(server, kOld, 0, kK);
    }
    return server;
  }

  Word content(const SharedWords& memory) const {
    const auto load = [&](int where) { return memory[static_cast<std::size_t>(where)]; };
    const Place place = find(load, kK);
    return place.is_found ? load(place.bucket.value(place.place)) : Word{0};
  }

  Word seen_content(SharedWords memory, Word fill) const {
    memory[kFill] = fill;
    return content(memory);
  }

  template <typename Offer>
  void offer_requests(const Server& server, Offer offer) const {
    for (const Key key : kKeys) {
      offer_put(server, key, offer);
      offer_erase(server, key, offer);
    }
    offer_split(server, offer);
    if (rules_.long_chains) offer_gather(server, offer);
    if (rules_.clears > 0) {
      offer_clear(server, offer);
      offer_reset(server, offer);
    }
  }

  void recover(Request<Server>& request) const {
    if (rules_.recovery_turns) turn(request);
    if (rules_.recovery_ends_gathering) {
      for (const Bucket& primary : {kOld, kNew}) end_gathering(request, primary);
    }
    if (request.load(kTwin) == 0) return;
    if (request.load(kDirectory) != 0 && rules_.recovery_repeats_removal) remove_moved(request);
    request.store(kTwin, 0);
  }

  const char* rebuild(Server& server) const {
    const auto load = [&](int where) { return server.shared[static_cast<std::size_t>(where)]; };
    for (const Key key : kKeys) {
      int places = 0;
      for (const Bucket& primary : {kOld, kNew}) {
        if (primary == kNew && load(kDirectory) == 0) continue;
        places += places_in_chain(load, primary, key);
      }
      if (places > 1) return "after recovery a key has two places";
    }
    return nullptr;
  }

  template <typename Loads>
  ReadResult read(Loads& load) const {
    const auto load_acquire = [&](int where, Access access) {
      return rules_.relaxed == access ? load.relaxed(where) : load.acquire(where);
    };
    const Word fill = load.relaxed(kFillNumber);
    const Word turns = load_acquire(kTurns, Access::kTurnsLoad);
    const Bucket primary = home(load_acquire(kDirectory, Access::kDirectoryLoad), kK);
    const auto change_is_same = [&] {
      return (!rules_.reader_checks_turns || load.relaxed(kTurns) == turns) && load.relaxed(kFillNumber) == fill;
    };
    const Word first_header = load_acquire(primary.header, Access::kHeaderLoad);
    struct Seen {
      int where;
      Word header;
    };
    std::array<Seen, kLongestChain> overflow{};
    std::size_t overflows = 0;
    for (Bucket bucket = primary;;) {
      const bool is_primary = bucket == primary;
      const Word header_word = is_primary ? first_header : load_acquire(bucket.header, Access::kOverflowHeaderLoad);
      if (!is_primary) overflow[overflows++] = {bucket.header, header_word};
      const Header header(header_word);
      const bool is_live = !rules_.reader_compares_fill || header.fill == low(fill);
      if (!is_live && !is_primary) return ReadResult::again();
      for (int place = 0; is_live && place < bucket.places; ++place) {
        if (!header.holds(place) || load.relaxed(bucket.key(place)) != kK) continue;
        const Word value = load.relaxed(bucket.value(place));
        if (rules_.reader_fences) load.acquire_fence();
        if (rules_.reader_checks_header) {
          const bool own = rules_.reader_checks_header_of_place;
          const Word expected = own ? header_word : first_header;
          if (load.acquire(own ? bucket.header : primary.header) != expected) return ReadResult::again();
        }
        return change_is_same() ? ReadResult::hit(value) : ReadResult::again();
      }
      if (!is_live || !header.has_overflow) break;
      const Word link = load.relaxed(bucket.link());
      if (link == 0 || overflows + 1 == kLongestChain) return ReadResult::again();
      bucket = bucket_of(link);
    }
    if (rules_.reader_fences) load.acquire_fence();
    if (rules_.reader_checks_headers_on_miss) {
      if (load.acquire(primary.header) != first_header) return ReadResult::again();
      for (std::size_t i = 0; i < overflows; ++i) {
        if (load.acquire(overflow[i].where) != overflow[i].header) return ReadResult::again();
      }
    }
    return change_is_same() ? ReadResult::miss() : ReadResult::again();
  }

  std::string describe(int where, Word value) const {
    if (where == kDirectory) return std::string("directory: ") + (value != 0 ? "two segments" : "one segment");
    if (where == kTurns) return "turns = " + std::to_string(value);
    if (where == kTwin) return std::string("twin word = ") + (value != 0 ? "purge" : "none");
    if (where == kFillNumber) return "fill = " + std::to_string(value);
    for (const Bucket& bucket : {kOld, kNew, kOverflow, kSecond}) {
      if (!bucket.contains(where)) continue;
      const std::string name = bucket.name;
      if (where == bucket.header) {
        const Header header(value);
        std::string text = name + ".header = {version " + std::to_string(header.version) + ", fill " +
                           std::to_string(header.fill) + ", places";
        for (int place = 0; place < bucket.places; ++place) {
          text += header.holds(place) ? " 1" : " 0";
        }
        return text + (header.has_overflow ? ", has overflow}" : "}");
      }
      if (where == bucket.link()) {
        const std::string to = value == 0 ? "none" : bucket_of(value).name;
        return name + ".link = " + to + ((value & kMark) != 0 ? ", mark" : "");
      }
      const bool is_key = where < bucket.value(0);
      const int place = where - (is_key ? bucket.key(0) : bucket.value(0));
      return name + (is_key ? ".key" : ".value") + std::to_string(place) + " = " +
             (is_key ? std::string(1, "-KLJ"[value & 3]) : std::to_string(value));
    }
    return "?";
  }

 private:
  static constexpr std::size_t kLongestChain = 3;

  struct Place {
    bool is_found;
    Bucket bucket;
    int place;
  };

  static void set_pair(Server& server, const Bucket& bucket, int place, Key key) {
    server.shared[static_cast<std::size_t>(bucket.key(place))] = key;
    server.shared[static_cast<std::size_t>(bucket.value(place))] = ++server.values_given;
  }

  Order release(Access access) const { return rules_.relaxed == access ? Order::kRelaxed : Order::kRelease; }
  int low(Word fill) const { return fill % rules_.fill_values; }  // what a header holds of it
  bool moves(Word key) const { return (rules_.moving >> key & 1) != 0; }
  Bucket home(Word directory, Key key) const { return directory != 0 && moves(key) ? kNew : kOld; }
  void turn(Request<Server>& request) const {
    request.store(kTurns, request.load(kTurns) + 1, release(Access::kTurnStore));
    request.release_fence();
  }

  static Bucket bucket_of(Word link) { return (link & ~kMark) == kSecond.header ? kSecond : kOverflow; }

  template <typename Load>
  static std::vector<Bucket> chain_of(const Load& load, const Bucket& primary) {
    std::vector<Bucket> chain = {primary};
    while (Header(load(chain.back().header)).has_overflow) chain.push_back(bucket_of(load(chain.back().link())));
    return chain;
  }
  static std::vector<Bucket> chain_of(const Request<Server>& request, const Bucket& primary) {
    return chain_of([&](int where) { return request.load(where); }, primary);
  }

  template <typename Load>
  Place find(const Load& load, Key key) const {
    const Bucket primary = home(load(kDirectory), key);
    if (Header(load(primary.header)).fill != low(load(kFillNumber))) return {false, primary, 0};
    for (const Bucket& bucket : chain_of(load, primary)) {
      const Header header(load(bucket.header));
      for (int place = 0; place < bucket.places; ++place) {
        if (header.holds(place) && load(bucket.key(place)) == key) return {true, bucket, place};
      }
    }
    return {false, primary, 0};
  }

  template <typename Load>
  int places_in_chain(const Load& load, const Bucket& primary, Key key) const {
    if (Header(load(primary.header)).fill != low(load(kFillNumber))) return 0;
    int places = 0;
    for (const Bucket& bucket : chain_of(load, primary)) {
      const Header header(load(bucket.header));
      for (int place = 0; place < bucket.places; ++place) {
        if (header.holds(place) && load(bucket.key(place)) == key) ++places;
      }
    }
    return places;
  }

  static Header header_of(const Request<Server>& request, const Bucket& bucket) {
    return Header(request.load(bucket.header));
  }

  bool is_stale(const Request<Server>& request, const Bucket& bucket) const {
    return header_of(request, bucket).fill != low(request.load(kFillNumber));
  }

  // The first touch of a bucket of an earlier fill.
  void reset_if_stale(Request<Server>& request, const Bucket& bucket) const {
    if (!is_stale(request, bucket)) return;
    const Header header = header_of(request, bucket);
    request.store(bucket.header, Header(header.version + 1, low(request.load(kFillNumber)), 0, false).word());
    request.release_fence();
  }

  // An overflow bucket that belongs to no chain, not even to a cleared one that is not reset yet; null: there is none.
  const Bucket* free_overflow(const Request<Server>& request) const {
    for (const Bucket* bucket : {&kOverflow, &kSecond}) {
      if (*bucket == kSecond && !rules_.long_chains) continue;
      bool is_used = false;
      for (const Bucket& primary : {kOld, kNew}) {
        for (const Bucket& used : chain_of(request, primary)) is_used = is_used || used == *bucket;
      }
      if (!is_used) return bucket;
    }
    return nullptr;
  }

  void link_overflow(Request<Server>& request, const Bucket& owner, const Bucket& overflow) const {
    const int version = rules_.version_survives_reuse ? header_of(request, overflow).version : -1;
    request.store(overflow.header, Header(version + 1, low(request.load(kFillNumber)), 0, false).word(),
                  release(Access::kLinkedHeaderStore));
    if (rules_.release_fence_before_reuse) request.release_fence();
    request.store(owner.link(), overflow.header, Order::kRelaxed);
    request.store(owner.header, header_of(request, owner).next().linked(true).word());
  }

  void insert(Request<Server>& request, const Bucket& bucket, int place, Key key, Word value) const {
    if (rules_.release_fence_before_reuse) request.release_fence();
    request.store(bucket.key(place), key, Order::kRelaxed);
    request.store(bucket.value(place), value, Order::kRelaxed);
    request.store(bucket.header, header_of(request, bucket).next().with(place).word(),
                  release(Access::kInsertHeaderStore));
  }

  // Into a free place of the chain; false when it has none.
  bool insert_into_chain(Request<Server>& request, const Bucket& primary, Key key, Word value) const {
    const std::vector<Bucket> chain = chain_of(request, primary);
    for (const Bucket& bucket : chain) {
      for (int place = 0; place < bucket.places; ++place) {
        if (header_of(request, bucket).holds(place)) continue;
        insert(request, bucket, place, key, value);
        return true;
      }
    }
    const Bucket* const overflow = free_overflow(request);
    if (overflow == nullptr || chain.size() == kLongestChain) return false;
    link_overflow(request, chain.back(), *overflow);
    insert(request, *overflow, 0, key, value);
    return true;
  }

  template <typename Offer>
  void offer_put(const Server& server, Key key, Offer& offer) const {
    Request<Server> request(server);
    const auto load = [&](int where) { return request.load(where); };
    const Bucket primary = home(request.load(kDirectory), key);
    reset_if_stale(request, primary);
    const Word value = request.new_value();
    const Place place = find(load, key);
    if (place.is_found) {
      if (key != kK) return;  // the neighbours' values do not matter
      request.store(place.bucket.value(place.place), value, release(Access::kOverwriteStore));
    } else if (!insert_into_chain(request, primary, key, value)) {
      return;
    }
    if (key == kK) request.sets_content(value);
    offer(request);
  }

  template <typename Offer>
  void offer_erase(const Server& server, Key key, Offer& offer) const {
    if (key == kK && !rules_.erases_k) return;
    Request<Server> request(server);
    const Place place = find([&](int where) { return request.load(where); }, key);
    if (!place.is_found) return;
    request.store(place.bucket.header, header_of(request, place.bucket).next().without(place.place).word(),
                  release(Access::kEraseHeaderStore));
    if (key == kK) request.sets_content(0);
    offer(request);
  }

  template <typename Offer>
  void offer_split(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (request.load(kDirectory) != 0) return;
    reset_if_stale(request, kOld);
    int moved = 0;
    for (const Bucket& bucket : chain_of(request, kOld)) {
      const Header header = header_of(request, bucket);
      for (int place = 0; place < bucket.places; ++place) {
        if (!header.holds(place) || !moves(request.load(bucket.key(place)))) continue;
        if (moved == kNew.places) return;  // it has no room for a second one
        request.store(kNew.key(moved), request.load(bucket.key(place)), Order::kRelaxed);
        request.store(kNew.value(moved), request.load(bucket.value(place)), Order::kRelaxed);
        ++moved;
      }
    }
    request.store(kNew.header, Header(1, low(request.load(kFillNumber)), moved, false).word());
    request.store(kTwin, 1);
    request.store(kDirectory, 1, release(Access::kPublishStore));
    if (rules_.turns_after_split) turn(request);
    remove_moved(request);
    request.store(kTwin, 0);
    if (rules_.gathers) gather(request, kOld);
    offer(request);
  }

  // Of a chain that an erase has left with more buckets than its keys need.
  template <typename Offer>
  void offer_gather(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (!rules_.gathers || is_stale(request, kOld)) return;
    gather(request, kOld);
    if (!request.stores().empty()) offer(request);
  }

  void gather(Request<Server>& request, const Bucket& primary) const {
    std::vector<Bucket> chain = chain_of(request, primary);
    for (; chain.size() > 1; chain.pop_back()) {
      int keys = 0;
      int places = 0;
      for (const Bucket& bucket : chain) {
        if (!(bucket == chain.back())) places += bucket.places;
        for (int place = 0; place < bucket.places; ++place) keys += header_of(request, bucket).holds(place) ? 1 : 0;
      }
      if (keys > places) return;
      empty_last(request, chain);
    }
  }

  void empty_last(Request<Server>& request, const std::vector<Bucket>& chain) const {
    const Bucket last = chain.back();
    const Bucket owner = chain[chain.size() - 2];
    std::vector<Header> headers;
    for (const Bucket& bucket : chain) headers.push_back(header_of(request, bucket));
    std::vector<bool> takes(chain.size());
    if (rules_.release_fence_before_reuse) request.release_fence();
    for (int from = 0; from < last.places; ++from) {
      if (!headers.back().holds(from)) continue;
      std::size_t number = 0;
      int to = 0;
      while (headers[number].holds(to)) {
        if (++to < chain[number].places) continue;
        to = 0;
        ++number;
      }
      request.store(chain[number].key(to), request.load(last.key(from)), Order::kRelaxed);
      request.store(chain[number].value(to), request.load(last.value(from)), Order::kRelaxed);
      headers[number] = headers[number].with(to);
      takes[number] = true;
    }
    const auto unlink = [&] {
      request.store(owner.header, headers[chain.size() - 2].next().linked(false).word(),
                    release(Access::kGatherHeaderStore));
    };
    if (!rules_.gathering_shows_first) unlink();
    bool is_marked = !rules_.gathering_marks;
    const auto mark = [&] {
      if (!is_marked) request.store(owner.link(), request.load(owner.link()) | kMark, Order::kRelaxed);
      is_marked = true;
    };
    for (std::size_t number = 0; number + 2 < chain.size(); ++number) {
      if (!takes[number]) continue;
      if (rules_.gathering_marks_first) mark();
      request.store(chain[number].header, headers[number].next().word(), release(Access::kGatherOtherHeaderStore));
      mark();
    }
    if (rules_.gathering_shows_first) unlink();
  }

  void end_gathering(Request<Server>& request, const Bucket& primary) const {
    const std::vector<Bucket> chain = chain_of(request, primary);
    for (std::size_t number = 0; number + 1 < chain.size(); ++number) {
      const Bucket& owner = chain[number];
      const Word link = request.load(owner.link());
      if ((link & kMark) == 0) continue;
      const Bucket& next = chain[number + 1];
      Header header = header_of(request, next);
      const Header before = header;
      for (int place = 0; place < next.places; ++place) {
        if (header.holds(place) && is_before(request, chain, number, request.load(next.key(place)))) {
          header = header.without(place);
        }
      }
      if (header.occupancy != before.occupancy) request.store(next.header, header.next().word());
      request.store(owner.link(), link & ~kMark, Order::kRelaxed);
    }
  }

  // Is the key in one of a chain's buckets up to this one?
  static bool is_before(const Request<Server>& request, const std::vector<Bucket>& chain, std::size_t last, Word key) {
    for (std::size_t number = 0; number <= last; ++number) {
      const Bucket& bucket = chain[number];
      for (int place = 0; place < bucket.places; ++place) {
        if (header_of(request, bucket).holds(place) && request.load(bucket.key(place)) == key) return true;
      }
    }
    return false;
  }

  // The chain's end first: the store that removes the last pairs of a bucket also unlinks its emptied successor.
  void remove_moved(Request<Server>& request) const {
    const std::vector<Bucket> chain = chain_of(request, kOld);
    bool drop_next = false;
    for (std::size_t number = chain.size(); number-- > 0;) {
      const Bucket& bucket = chain[number];
      const Header before = header_of(request, bucket);
      Header header = before.next();
      for (int place = 0; place < bucket.places; ++place) {
        if (moves(request.load(bucket.key(place)))) header = header.without(place);
      }
      if (drop_next) header = header.linked(false);
      if (number == 0 || header.occupancy != before.occupancy || drop_next) {
        request.store(bucket.header, header.word(), release(Access::kRemovalHeaderStore));
      }
      drop_next = number != 0 && header.occupancy == 0 && !header.has_overflow;
    }
  }

  template <typename Offer>
  void offer_clear(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    if (request.load(kFillNumber) == rules_.clears) return;
    // No published bucket may fall behind so far that its fill seems to be the current one.
    if (rules_.clears_only_what_is_swept && has_stale_bucket(request)) return;
    request.store(kFillNumber, request.load(kFillNumber) + 1);
    request.sets_content(0);
    offer(request);
  }

  bool has_stale_bucket(const Request<Server>& request) const {
    return is_stale(request, kOld) || (request.load(kDirectory) != 0 && is_stale(request, kNew));
  }

  // The sweep that resets what a clear has left.
  template <typename Offer>
  void offer_reset(const Server& server, Offer& offer) const {
    Request<Server> request(server);
    reset_if_stale(request, kOld);
    if (request.load(kDirectory) != 0) reset_if_stale(request, kNew);
    if (!request.stores().empty()) offer(request);
  }

  const Rules rules_;
};

std::vector<Case> cases() {
  constexpr auto holds = TableCases<PairsModel, Rules>::holds;
  constexpr auto broken = TableCases<PairsModel, Rules>::broken;
  constexpr Memory kProgram = Memory::kProgramOrder;
  constexpr Memory kCpp = Memory::kCppOrder;
  constexpr unsigned kKStays = bit_of(kL) | bit_of(kJ);
  return {
      holds("program order, K and L move", kProgram, {{5, 6}}, {}),
      holds("program order, K stays", kProgram, {{5, 6}}, {.moving = kKStays}),
      holds("program order, chain full at the start", kProgram, {{5, 6}}, {.starts_full = true}),
      holds("program order, chain full, K stays", kProgram, {{5, 6}}, {.moving = kKStays, .starts_full = true}),
      holds("program order, two kills", kProgram, {{3, 4}, 2}, {}),
      holds("program order, two kills, chain full", kProgram, {{3, 4}, 2}, {.starts_full = true}),
      holds("program order, clear, a kill", kProgram, {{3, 5}, 1}, {.clears = 2}),
      holds("program order, clear, a kill, chain full", kProgram, {{3, 5}, 1}, {.starts_full = true, .clears = 2}),
      holds("program order, the fill number wraps in the headers", kProgram, {{5, 6}}, {.clears = 3, .fill_values = 2}),
      holds("program order, clears by another worker inside requests", kProgram, {{3, 4}, 0, 2}, {}),
      holds("program order, clears by another worker, a kill, chain full", kProgram, {{2, 3}, 1, 2},
            {.starts_full = true}),
      holds("C++ order, K and L move", kCpp, {{4, 6}}, {}),
      holds("C++ order, K stays", kCpp, {{4, 6}}, {.moving = kKStays}),
      holds("C++ order, chain full at the start", kCpp, {{4, 6}}, {.starts_full = true}),
      holds("C++ order, a kill", kCpp, {{3, 5}, 1}, {}),
      holds("C++ order, a kill, chain full", kCpp, {{3, 5}, 1}, {.starts_full = true}),
      holds("C++ order, clear", kCpp, {{4, 6}}, {.clears = 2}),
      holds("C++ order, clears by another worker", kCpp, {{3, 4}, 0, 2}, {.starts_full = true}),
      holds("C++ order, clear by another worker, a kill", kCpp, {{2, 3}, 1, 1}, {}),
      holds("program order, chain full, nothing is gathered", kProgram, {{3, 4}, 2},
            {.moving = kKStays, .starts_full = true, .gathers = false}),
      holds("program order, two kills, chain full, K stays and is gathered", kProgram, {{3, 4}, 2},
            {.moving = kKStays, .starts_full = true}),
      holds("C++ order, chain full, K stays and is gathered", kCpp, {{4, 6}}, {.moving = kKStays, .starts_full = true}),
      holds("C++ order, a kill, clear, chain full, K stays and is gathered", kCpp, {{3, 5}, 1},
            {.moving = kKStays, .starts_full = true, .clears = 1}),
      holds("program order, pairs alone: a miss needs no headers again", kProgram, {{3, 4}, 1, 1},
            {.reader_checks_headers_on_miss = false}),
      holds("program order, chain full, pairs alone: the same", kProgram, {{3, 4}, 1, 1},
            {.starts_full = true, .reader_checks_headers_on_miss = false}),
      holds("C++ order, pairs alone: a miss needs no headers again", kCpp, {{3, 4}, 0, 2},
            {.reader_checks_headers_on_miss = false}),
      holds("C++ order, chain full, pairs alone: the same", kCpp, {{3, 4}, 0, 2},
            {.starts_full = true, .reader_checks_headers_on_miss = false}),
      holds("C++ order, the headers that a split leaves may be stored relaxed, after the turn and its fence", kCpp,
            {{4, 5}}, {.relaxed = Access::kRemovalHeaderStore}),
      holds("program order, a chain of three, two kills", kProgram, {{3, 4}, 2}, {.long_chains = true}),
      holds("program order, a chain of three, two kills, K stays", kProgram, {{3, 3}, 2},
            {.moving = kKStays, .long_chains = true}),
      holds("program order, a chain of three, two kills, nothing moves", kProgram, {{3, 3}, 2},
            {.moving = 0, .long_chains = true}),
      holds("program order, a chain of three, clear by another worker, a kill", kProgram, {{2, 3}, 1, 1},
            {.moving = 0, .long_chains = true}),
      holds("C++ order, a chain of three", kCpp, {{4, 5}}, {.moving = kKStays, .long_chains = true}),
      holds("C++ order, a chain of three, a kill, clear", kCpp, {{3, 4}, 1},
            {.moving = 0, .long_chains = true, .clears = 1}),
      broken("a gathering marks no link", kProgram, {{3, 3}, 1}, {.long_chains = true, .gathering_marks = false}),
      broken("a gathering marks the link after the first header", kProgram, {{3, 3}, 1},
             {.long_chains = true, .gathering_marks_first = false}),
      broken("recovery does not end a gathering", kProgram, {{3, 3}, 1},
             {.long_chains = true, .recovery_ends_gathering = false}),
      broken("a gathering unlinks a bucket before its keys are elsewhere", kProgram, {{3, 3}},
             {.long_chains = true, .gathering_shows_first = false}),
      broken("header of a chain's first bucket stored relaxed by a gathering", kCpp, {{3, 3}},
             {.moving = 0, .long_chains = true, .relaxed = Access::kGatherOtherHeaderStore}),
      broken("no release fence before a gathering", kCpp, {{4, 4}},
             {.moving = 0, .long_chains = true, .erases_k = false, .release_fence_before_reuse = false}),
      broken("K is gathered in a chain of three, and a miss without the headers again", kProgram, {{3, 3}},
             {.moving = 0, .long_chains = true, .reader_checks_headers_on_miss = false}),
      broken("no header check", kProgram, {{3, 3}}, {.reader_checks_header = false}),
      broken("a place in an overflow bucket checked by the primary's header", kProgram, {{4, 4}},
             {.starts_full = true, .reader_checks_header_of_place = false}),
      broken("overflow bucket's version reset on reuse", kProgram, {{4, 4}},
             {.moving = kKStays, .starts_full = true, .version_survives_reuse = false}),
      broken("miss without the change word again", kProgram, {{4, 4}}, {.reader_checks_turns = false}),
      broken("no turn at a restart", kProgram, {{4, 4}, 1}, {.recovery_turns = false}),
      broken("no turn after a split", kProgram, {{4, 4}}, {.turns_after_split = false}),
      broken("recovery does not repeat the split's removal", kProgram, {{4, 4}, 1},
             {.recovery_repeats_removal = false}),
      broken("reader ignores the fill number", kProgram, {{4, 4}}, {.clears = 1, .reader_compares_fill = false}),
      broken("fill rises a whole turn above a bucket", kProgram, {{4, 4}},
             {.clears = 2, .fill_values = 2, .clears_only_what_is_swept = false}),
      broken("no release fence before a place is reused", kCpp, {{4, 4}}, {.release_fence_before_reuse = false}),
      broken("directory loaded relaxed, and a miss without the headers again", kCpp, {{4, 4}},
             {.reader_checks_headers_on_miss = false, .relaxed = Access::kDirectoryLoad}),
      broken("header loaded relaxed", kCpp, {{4, 4}}, {.relaxed = Access::kHeaderLoad}),
      broken("header of an overflow bucket loaded relaxed", kCpp, {{4, 4}},
             {.starts_full = true, .relaxed = Access::kOverflowHeaderLoad}),
      broken("overwrite stored relaxed: another reader may go back", kCpp, {{4, 4}},
             {.relaxed = Access::kOverwriteStore}),
      broken("header of an insert stored relaxed", kCpp, {{4, 4}}, {.relaxed = Access::kInsertHeaderStore}),
      broken("header of a linked overflow bucket stored relaxed", kCpp, {{4, 4}},
             {.moving = kKStays, .starts_full = true, .relaxed = Access::kLinkedHeaderStore}),
      broken("header of a gathered chain stored relaxed", kCpp, {{4, 4}},
             {.moving = kKStays, .starts_full = true, .relaxed = Access::kGatherHeaderStore}),
      broken("K is gathered, and a miss without the headers again", kProgram, {{5, 6}},
             {.moving = kKStays, .starts_full = true, .reader_checks_headers_on_miss = false}),
      broken("header of an erase stored relaxed", kCpp, {{4, 4}}, {.relaxed = Access::kEraseHeaderStore}),
      broken("turn stored relaxed", kCpp, {{4, 4}}, {.relaxed = Access::kTurnStore}),
      broken("turns loaded relaxed at first", kCpp, {{4, 4}}, {.relaxed = Access::kTurnsLoad}),
      broken("directory stored relaxed", kCpp, {{4, 4}, 1}, {.relaxed = Access::kPublishStore}),
      broken("no acquire fence before the header is loaded again", kCpp, {{4, 4}}, {.reader_fences = false}),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "pairs", hostmap::models::cases()); }
