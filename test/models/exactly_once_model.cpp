// Model: every request is applied exactly once, and answered once, whatever is killed when.
//
// Modelled: one worker that serves the requests of two lanes of one client (or one lane of each of
// two), in any order between the lanes; one key that lives as a pair (value word in place, occupancy
// bit in its bucket's header) or as an entry (a cell that names entry 1 or 2); the worker's intent
// record in the journal; the split of the pair bucket and the reset of stale buckets between
// requests; a kill after any store, and also inside recovery. Each store to table, journal or ring
// is one step, in program order, which is what a SIGKILL leaves.
//
// The record contains what recovery has to compare to determine whether a request was applied:
//   V  value word overwritten     value word == new word (if they were equal, no harm is done)
//   +  pair inserted              its occupancy bit is on
//   -  pair erased                its occupancy bit is off
//   C  cell swung or emptied      cell == new word
//   O  pair -> entry              the pair's bit is off; if not, the entry is unlinked
//   I  entry -> pair              the pair's bit is on; if so, the entry is unlinked
//   F  clear                      fill == new word
//   N  nothing changes            the answer's place has this request's answer
// The worker's rules: upkeep first; seal = 0, record, seal = 1; commit; all other table stores of
// the request; answer; seal = 2; the lane's next positions.
// Recovery, every step of which may be repeated: entry bucket's version + 1; seal 1 and applied, or
// seal 2: the record's answer again (but not for N at seal 1) and the next positions; seal 1 and not
// applied: the request is still in the ring; a split's removal again; seal = 0.
//
// Checked, at every end: each request was answered once; what was published never changed; some
// order of the two lanes' requests on a plain map gives these answers and this content. `full` does
// that for every pair of lanes with two requests each, `quick` with one.
//
// Simplified: one key, no overflow buckets, entries with one bucket, the rings' own places are never
// used again (that is ring_model.cpp), clients never die (their regions outlive them).

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cases.hpp"
#include "search.hpp"
#include "table_model.hpp"

namespace hostmap::models {
namespace {

// Requests, each a letter, so that a lane is a string.
constexpr char kPut = 'p';              // 5, again and again: old and new word may be equal
constexpr char kPutAsync = 'a';         // 6, without an answer
constexpr char kPutLarge = 'b';         // a value that does not fit a pair
constexpr char kIncrement = 'i';        // by 1
constexpr char kIncrementByZero = 'z';  // changes nothing, or turns nothing into 0
constexpr char kInsert = 'n';           // 9, only if absent
constexpr char kExchange = 'x';         // 5 -> 6
constexpr char kErase = 'e';
constexpr char kClear = 'c';
constexpr std::string_view kAllRequests = "pabiznxec";

// Answers; a number n is kNumber + n.
enum Answer : Word { kNoAnswer, kOk, kNotFound, kExists, kMismatch, kNotANumber, kNumber };

constexpr Word kLarge = 100;
using Value = std::optional<Word>;

// The plain map.
std::pair<Value, Answer> apply_to_plain_map(char request, Value value) {
  switch (request) {
    case kPut:
      return {Value{5}, kOk};
    case kPutAsync:
      return {Value{6}, kNoAnswer};
    case kPutLarge:
      return {Value{kLarge}, kOk};
    case kIncrement:
    case kIncrementByZero: {
      if (value == kLarge) return {value, kNotANumber};
      const auto sum = static_cast<Word>(value.value_or(0) + (request == kIncrement ? 1 : 0));
      return {sum, static_cast<Answer>(kNumber + sum)};
    }
    case kInsert:
      return value ? std::pair{value, kExists} : std::pair{Value{9}, kOk};
    case kExchange:
      if (!value) return {value, kNotFound};
      return value == 5 ? std::pair{Value{6}, kOk} : std::pair{value, kMismatch};
    case kErase:
      return {std::nullopt, value ? kOk : kNotFound};
    default:
      return {std::nullopt, kOk};  // clear
  }
}

using Lanes = std::array<std::string, 2>;
using Answers = std::array<std::vector<Word>, 2>;

// What may be there at the end: content and answers of every order of the two lanes' requests.
std::set<std::pair<Value, Answers>> possible_ends(const Lanes& lanes) {
  std::set<std::pair<Value, Answers>> ends;
  const auto go_on = [&](const auto& self, std::array<std::size_t, 2> done, Value value,
                         const Answers& answers) -> void {
    bool is_end = true;
    for (std::size_t lane = 0; lane < 2; ++lane) {
      if (done[lane] == lanes[lane].size()) continue;
      is_end = false;
      const auto [next_value, answer] = apply_to_plain_map(lanes[lane][done[lane]], value);
      Answers next_answers = answers;
      if (answer != kNoAnswer) next_answers[lane].push_back(answer);
      auto next_done = done;
      ++next_done[lane];
      self(self, next_done, next_value, next_answers);
    }
    if (is_end) ends.insert({value, answers});
  };
  go_on(go_on, {0, 0}, std::nullopt, {});
  return ends;
}

constexpr int kMostRequests = 3;  // of a lane

enum Where : int {
  kSplitState,  // 0 before, 1 splitting, 2 after
  kFillNumber,
  kPairHeaders,                    // of the old and of the new bucket
  kPairValues = kPairHeaders + 2,  // likewise
  kEntriesHeader = kPairValues + 2,
  kCell,
  kEntryValues,  // of entry 1 and of entry 2
  kSeal = kEntryValues + 2,
  kRecordLane,
  kRecordPosition,
  kRecordAnswerPosition,
  kRecordKind,
  kRecordPlace,
  kRecordNew,
  kRecordEntry,  // of a move: the word that the cell gets, or has
  kRecordAnswer,
  kPositions,  // of the next request, by lane
  kAnswerPositions = kPositions + 2,
  kRing = kAnswerPositions + 2,  // places for answers, by lane
  kWordCount = kRing + 2 * kMostRequests,
};

// Of a pair bucket, and of the entry bucket, where the bit means nothing.
struct Header {
  int version;
  int fill;
  bool is_occupied;

  explicit Header(Word word) : version(word >> 3), fill(word >> 1 & 3), is_occupied(word & 1) {}
  Header(int version_, int fill_, bool is_occupied_) : version(version_), fill(fill_), is_occupied(is_occupied_) {}

  Header occupied(bool occupied) const { return {version + 1, fill, occupied}; }
  Header bumped() const { return {version + 1, fill, is_occupied}; }
  Word word() const { return static_cast<Word>(version << 3 | fill << 1 | (is_occupied ? 1 : 0)); }
};

enum class Splits { kBetweenRequests, kInsideRequest, kNever };

struct Rules {
  int kills = 2;
  Splits splits = Splits::kBetweenRequests;
  // The protocol; another value is a broken variant, unless a case below says that it holds.
  bool judges_by_bit = true;  // else by the whole header word
  bool recovery_bumps_pair_bucket = false;
  bool seals_records = true;
  bool unseals_before_rewriting = true;
  bool recovery_undoes_move_out = true;
  bool recovery_finishes_move_in = true;
  bool unlinks_entry_before_seal_2 = true;
  bool commits_before_answer = true;
  bool compares_n = true;         // else N at seal 1 always counts as applied
  bool judges_plain_puts = true;  // else what a kill finds unfinished is done again
};

class ExactlyOnce {
 public:
  ExactlyOnce(const Lanes& lanes, const Rules& rules)
      : lanes_(lanes), rules_(rules), possible_ends_(possible_ends(lanes)) {}

  Verdict explore() {
    Moment start{};
    start.server.shared[kPairHeaders] = Header(1, 0, false).word();
    start.server.shared[kPairHeaders + 1] = Header(1, 0, false).word();
    start.server.shared[kEntriesHeader] = Header(1, 0, false).word();
    search_.run(start, [this](const Moment& now) {
      kill(now);
      step(now);
    });
    Verdict verdict{search_.states(), search_.exhausted(), search_.failure(), {}};
    if (search_.failed()) verdict.way = [lines = way()] { return lines; };
    return verdict;
  }

 private:
  using Server = ServerMemory<kWordCount>;
  enum : Word { kServing, kRecovering };

  struct Moment {
    Server server;
    std::array<Word, 2> stores;  // of the current changes: a number of store_lists_
    Word stored;                 // how many of them are done
    Word phase;
    Word kills;
  };

  static std::size_t at(int where) { return static_cast<std::size_t>(where); }
  const std::vector<Store>& stores_of(const Moment& moment) const { return store_lists_.list(moment.stores); }

  void step(const Moment& now) {
    if (now.stored < stores_of(now).size()) return store_next(now);
    Moment next = now;
    next.stores = StoreLists::kNothing;
    next.stored = 0;
    next.phase = kServing;
    if (now.phase == kRecovering) {
      const auto load = [&](int where) { return now.server.shared[at(where)]; };
      if (pair_of(load) != kNoPair && cell_of(load) != 0) {
        return search_.fail(now, "after recovery the key has both forms");
      }
      return search_.add(next);
    }
    bool is_end = true;
    for (int lane = 0; lane < 2; ++lane) {
      if (now.server.shared[at(kPositions + lane)] == lanes_[at(lane)].size()) continue;
      is_end = false;
      Request<Server> request(now.server);
      serve(request, lane);
      begin(next, request);
    }
    if (now.server.shared[kSplitState] == 0 && rules_.splits == Splits::kBetweenRequests) {
      Request<Server> request(now.server);
      split(request);
      begin(next, request);
    }
    if (is_end) check_end(now);
  }

  void begin(Moment next, const Request<Server>& request) {
    next.stores = store_lists_.number_of(request.stores());
    search_.add(next);
  }

  void store_next(Moment next) {
    const Store& store = stores_of(next)[next.stored++];
    Word& word = next.server.shared[store.where];
    const bool changes_answer = store.where >= kRing && word != 0 && word != store.value;
    word = store.value;
    if (changes_answer) return search_.fail(next, "an answer that was published changes");
    search_.add(next);
  }

  void kill(const Moment& now) {
    if (now.kills == rules_.kills) return;
    Request<Server> request(now.server);
    recover(request);
    Moment next = now;
    next.stores = store_lists_.number_of(request.stores());
    next.stored = 0;
    next.phase = kRecovering;
    next.kills++;
    search_.add(next);
  }

  void check_end(const Moment& now) {
    const auto load = [&](int where) { return now.server.shared[at(where)]; };
    Answers answers;
    for (int lane = 0; lane < 2; ++lane) {
      int place = 0;
      for (std::size_t position = 0; position < lanes_[at(lane)].size(); ++position) {
        if (!is_answered(lanes_[at(lane)][position])) continue;
        const Word answer = load(kRing + lane * kMostRequests + place++);
        if (answer >> 8 != position + 1) {
          return search_.fail(now, "a request has no answer, or another request's");
        }
        answers[at(lane)].push_back(answer & 0xFF);
      }
      if (load(kAnswerPositions + lane) != place) {
        return search_.fail(now, "more or fewer answers than requests");
      }
    }
    if (!possible_ends_.contains({value_of(load), answers})) {
      search_.fail(now, "no order of the requests gives these answers and this content");
    }
  }

  static bool is_answered(char request) { return request != kPutAsync; }

  // The table, with the server's own stores. A bucket of another fill is empty.
  static constexpr int kNoPair = -1;

  template <typename Load>
  static int home(const Load& load) {
    return load(kSplitState) >= 1 ? 1 : 0;
  }
  template <typename Load>
  static bool is_stale(const Load& load, int header) {
    return Header(load(header)).fill != load(kFillNumber);
  }
  template <typename Load>
  static int pair_of(const Load& load) {
    const int bucket = home(load);
    if (is_stale(load, kPairHeaders + bucket)) return kNoPair;
    return Header(load(kPairHeaders + bucket)).is_occupied ? bucket : kNoPair;
  }
  template <typename Load>
  static Word cell_of(const Load& load) {
    return is_stale(load, kEntriesHeader) ? Word{0} : load(kCell);
  }
  template <typename Load>
  static Value value_of(const Load& load) {
    const int pair = pair_of(load);
    if (pair != kNoPair) return load(kPairValues + pair);
    const Word entry = cell_of(load);
    if (entry == 0) return std::nullopt;
    return load(kEntryValues + entry - 1);
  }

  static auto loader(const Request<Server>& request) {
    return [&request](int where) { return request.load(where); };
  }

  static void reset_if_stale(Request<Server>& request, int header) {
    if (!is_stale(loader(request), header)) return;
    if (header == kEntriesHeader && request.load(kCell) != 0) request.store(kCell, 0);
    const int version = Header(request.load(header)).version + 1;
    request.store(header, Header(version, request.load(kFillNumber), false).word());
  }

  static void bump_entries(Request<Server>& request) {
    request.store(kEntriesHeader, Header(request.load(kEntriesHeader)).bumped().word());
  }

  static void split(Request<Server>& request) {
    reset_if_stale(request, kPairHeaders);
    const Header old(request.load(kPairHeaders));
    if (old.is_occupied) request.store(kPairValues + 1, request.load(kPairValues));
    const int version = Header(request.load(kPairHeaders + 1)).version + 1;
    request.store(kPairHeaders + 1, Header(version, request.load(kFillNumber), old.is_occupied).word());
    request.store(kSplitState, 1);
    finish_split(request);
  }

  // Takes the moved pair away, whatever the bucket's fill.
  static void finish_split(Request<Server>& request) {
    request.store(kPairHeaders, Header(request.load(kPairHeaders)).occupied(false).word());
    request.store(kSplitState, 2);
  }

  // A request's way through the table, and its part of the record. The bytes are stored before
  // the record, since nothing links them yet; the last store of the commit is the one that counts.
  using Stores = std::vector<std::pair<int, Word>>;
  struct Plan {
    char kind = 'N';
    Word new_word = 0;
    Word entry = 0;
    Stores bytes = {};
    Stores commit = {};
    bool unlinks_entry = false;
    bool bumps_entries = false;
  };

  static Plan plan_change(const Request<Server>& request, Value before, Value after) {
    const int bucket = home(loader(request));
    const int header = kPairHeaders + bucket;
    const bool is_pair = pair_of(loader(request)) != kNoPair;
    const Word cell = cell_of(loader(request));
    const Word on = Header(request.load(header)).occupied(true).word();
    const Word off = Header(request.load(header)).occupied(false).word();
    if (!after) {
      if (!before) return {};
      if (is_pair) return {.kind = '-', .new_word = off, .commit = {{header, off}}};
      return {.kind = 'C', .new_word = 0, .commit = {{kCell, 0}}, .bumps_entries = true};
    }
    if (*after == kLarge) {
      const Word entry = cell == 1 ? 2 : 1;
      const Stores bytes = {{kEntryValues + entry - 1, kLarge}};
      if (is_pair) {
        return {
            .kind = 'O', .new_word = off, .entry = entry, .bytes = bytes, .commit = {{kCell, entry}, {header, off}}};
      }
      return {.kind = 'C', .new_word = entry, .bytes = bytes, .commit = {{kCell, entry}}, .bumps_entries = cell != 0};
    }
    const Stores value = {{kPairValues + bucket, *after}};
    if (is_pair) return {.kind = 'V', .new_word = *after, .commit = value};
    if (cell == 0) return {.kind = '+', .new_word = on, .bytes = value, .commit = {{header, on}}};
    return {
        .kind = 'I', .new_word = on, .entry = cell, .bytes = value, .commit = {{header, on}}, .unlinks_entry = true};
  }

  static bool changes_table(char request, Value before, Value after) {
    // A plain put writes its word even when the same word is there.
    return before != after || request == kPut || request == kPutAsync || request == kPutLarge ||
           (request == kIncrementByZero && before != kLarge);
  }

  void serve(Request<Server>& request, int lane) const {
    const Word position = request.load(kPositions + lane);
    const Word answer_position = request.load(kAnswerPositions + lane);
    const char what = lanes_[at(lane)][position];

    reset_if_stale(request, kPairHeaders + home(loader(request)));
    reset_if_stale(request, kEntriesHeader);

    const Value before = value_of(loader(request));
    const auto outcome = apply_to_plain_map(what, before);
    const Value after = outcome.first;
    const Answer answer = outcome.second;
    Plan plan;
    if (what == kClear) {
      const auto fill = static_cast<Word>(request.load(kFillNumber) + 1);
      plan = {.kind = 'F', .new_word = fill, .commit = {{kFillNumber, fill}}};
    } else if (changes_table(what, before, after)) {
      plan = plan_change(request, before, after);
    }
    for (const auto& [where, value] : plan.bytes) request.store(where, value);

    if (rules_.seals_records && rules_.unseals_before_rewriting) request.store(kSeal, 0);
    request.store(kRecordLane, lane);
    request.store(kRecordPosition, position);
    request.store(kRecordAnswerPosition, answer_position);
    request.store(kRecordKind, plan.kind);
    request.store(kRecordPlace, home(loader(request)));
    request.store(kRecordNew, plan.new_word);
    request.store(kRecordEntry, plan.entry);
    request.store(kRecordAnswer, answer);
    if (rules_.seals_records) request.store(kSeal, 1);

    const auto publish_answer = [&] {
      if (is_answered(what)) publish(request, lane, answer_position, position, answer);
    };
    const auto unlink_entry = [&] {
      if (!plan.unlinks_entry) return;
      request.store(kCell, 0);
      bump_entries(request);
    };
    if (!rules_.commits_before_answer) publish_answer();
    for (const auto& [where, value] : plan.commit) request.store(where, value);
    if (plan.bumps_entries) bump_entries(request);
    if (rules_.unlinks_entry_before_seal_2) unlink_entry();
    if (rules_.splits == Splits::kInsideRequest && request.load(kSplitState) == 0) split(request);
    if (rules_.commits_before_answer) publish_answer();
    request.store(kSeal, 2);
    request.store(kPositions + lane, position + 1);
    request.store(kAnswerPositions + lane, answer_position + (is_answered(what) ? 1 : 0));
    if (!rules_.unlinks_entry_before_seal_2) unlink_entry();
  }

  // An answer names its request: its tag is made from the request's position.
  static void publish(Request<Server>& request, int lane, int place, int position, int answer) {
    request.store(kRing + lane * kMostRequests + place, (position + 1) << 8 | answer);
  }

  bool is_plain_put(const Request<Server>& request) const {
    const std::string& lane = lanes_[request.load(kRecordLane)];
    const char what = lane[request.load(kRecordPosition)];
    return what == kPut || what == kPutAsync;
  }

  bool is_applied(const Request<Server>& request) const {
    const Word new_word = request.load(kRecordNew);
    const Word header = request.load(kPairHeaders + request.load(kRecordPlace));
    switch (static_cast<char>(request.load(kRecordKind))) {
      case 'V':
        if (!rules_.judges_plain_puts && is_plain_put(request)) return false;
        return request.load(kPairValues + request.load(kRecordPlace)) == new_word;
      case 'C':
        return request.load(kCell) == new_word;
      case 'F':
        return request.load(kFillNumber) == new_word;
      case 'N': {
        const int place = kRing + request.load(kRecordLane) * kMostRequests + request.load(kRecordAnswerPosition);
        return !rules_.compares_n || request.load(place) >> 8 == request.load(kRecordPosition) + 1;
      }
      case '+':
      case 'I':
        return rules_.judges_by_bit ? Header(header).is_occupied : header == new_word;
      default:
        return rules_.judges_by_bit ? !Header(header).is_occupied : header == new_word;
    }
  }

  void recover(Request<Server>& request) const {
    bump_entries(request);
    const int place = kPairHeaders + request.load(kRecordPlace);
    if (rules_.recovery_bumps_pair_bucket) {
      request.store(place, Header(request.load(place)).bumped().word());
    }
    const Word seal = request.load(kSeal);
    const char kind = static_cast<char>(request.load(kRecordKind));
    const bool applied = seal == 1 && is_applied(request);
    const bool unlinks = (kind == 'O' && !applied && rules_.recovery_undoes_move_out) ||
                         (kind == 'I' && applied && rules_.recovery_finishes_move_in);
    if (seal == 1 && unlinks && request.load(kCell) == request.load(kRecordEntry)) {
      request.store(kCell, 0);
      bump_entries(request);
    }
    if (seal == 2 || applied) {
      const int lane = request.load(kRecordLane);
      const Word position = request.load(kRecordPosition);
      const Word answer_position = request.load(kRecordAnswerPosition);
      const bool answers = is_answered(lanes_[at(lane)][position]);
      if (answers && !(kind == 'N' && seal == 1 && rules_.compares_n)) {
        publish(request, lane, answer_position, position, request.load(kRecordAnswer));
      }
      request.store(kPositions + lane, position + 1);
      request.store(kAnswerPositions + lane, answer_position + (answers ? 1 : 0));
    }
    if (request.load(kSplitState) == 1) finish_split(request);
    request.store(kSeal, 0);
  }

  std::vector<std::string> way() const {
    std::vector<std::string> lines = {"lanes: " + lanes_[0] + " " + lanes_[1]};
    const std::vector<Moment> moments = search_.way();
    for (std::size_t index = 1; index < moments.size(); ++index) {
      const Moment& before = moments[index - 1];
      const Moment& after = moments[index];
      if (after.kills > before.kills) lines.push_back("KILLED");
      for (int where = 0; where < kWordCount; ++where) {
        const Word value = after.server.shared[at(where)];
        if (value != before.server.shared[at(where)]) lines.push_back(describe(where, value));
      }
    }
    return lines;
  }

  static std::string describe(int where, Word value) {
    const auto named = [&](const char* name) { return std::string(name) + " = " + std::to_string(value); };
    if (where >= kRing) {
      const int place = where - kRing;
      return "lane " + std::to_string(place / kMostRequests) + ": answer " + std::to_string(place % kMostRequests) +
             " = {request " + std::to_string((value >> 8) - 1) + ", " + std::to_string(value & 0xFF) + "}";
    }
    if (where >= kPositions) {
      const int lane = (where - kPositions) % 2;
      return "lane " + std::to_string(lane) + ": " + named(where < kAnswerPositions ? "next request" : "next answer");
    }
    if (where >= kEntryValues && where < kSeal) {
      return "entry " + std::to_string(where - kEntryValues + 1) + "." + named("value");
    }
    if (where == kRecordKind) return std::string("record.kind = ") + static_cast<char>(value);
    const bool is_pair_header = where == kPairHeaders || where == kPairHeaders + 1;
    if (is_pair_header || where == kEntriesHeader) {
      const Header header(value);
      const char* name = where == kPairHeaders     ? "old.header"
                         : where == kEntriesHeader ? "entries.header"
                                                   : "new.header";
      return std::string(name) + " = {version " + std::to_string(header.version) + ", fill " +
             std::to_string(header.fill) + (header.is_occupied ? ", occupied}" : "}");
    }
    switch (where) {
      case kSplitState:
        return named("split state");
      case kFillNumber:
        return named("fill");
      case kPairValues:
        return named("old.value");
      case kPairValues + 1:
        return named("new.value");
      case kCell:
        return named("cell");
      case kSeal:
        return named("record.seal");
      case kRecordLane:
        return named("record.lane");
      case kRecordPosition:
        return named("record.position");
      case kRecordAnswerPosition:
        return named("record.answer position");
      case kRecordPlace:
        return named("record.place");
      case kRecordNew:
        return named("record.new word");
      case kRecordEntry:
        return named("record.entry");
      default:
        return named("record.answer");
    }
  }

  const Lanes lanes_;
  const Rules rules_;
  const std::set<std::pair<Value, Answers>> possible_ends_;
  Search<Moment> search_;
  StoreLists store_lists_;
};

// Every lane of so many requests.
std::vector<std::string> all_lanes(int requests) {
  std::vector<std::string> lanes = {""};
  for (int count = 0; count < requests; ++count) {
    std::vector<std::string> longer;
    for (const std::string& lane : lanes) {
      for (const char request : kAllRequests) longer.push_back(lane + request);
    }
    lanes = std::move(longer);
  }
  return lanes;
}

std::vector<Lanes> every_pair_of_lanes(int requests) {
  std::vector<Lanes> pairs;
  const std::vector<std::string> lanes = all_lanes(requests);
  for (const std::string& one : lanes) {
    for (const std::string& other : lanes) {
      if (one <= other) pairs.push_back({one, other});
    }
  }
  return pairs;
}

// Longer ones, chosen so that every kind of record meets every other.
const std::vector<Lanes> kChosen = {{"ppi", "zi"}, {"ibn", "ep"}, {"pbp", "xe"}, {"bpb", "in"}, {"nen", "ei"},
                                    {"pxz", "px"}, {"pca", "ib"}, {"bac", "ni"}, {"np", "ie"}};

Verdict explore_all(const std::vector<Lanes>& workloads, const Rules& rules) {
  Verdict sum;
  for (const Lanes& lanes : workloads) {
    Verdict one = ExactlyOnce(lanes, rules).explore();
    one.states += sum.states;
    sum = std::move(one);
    if (!sum.failure.empty() || sum.exhausted) break;
  }
  return sum;
}

Case holds(std::string name, const Rules& rules) {
  return {true, std::move(name), [=](Effort) { return explore_all(kChosen, rules); }};
}
Case broken(std::string name, const Rules& rules) {
  return {false, std::move(name), [=](Effort) { return explore_all(kChosen, rules); }};
}
Case holds_for_every_pair_of_lanes(std::string name, const Rules& rules) {
  return {true, std::move(name), [=](Effort effort) {
            const int requests = effort == Effort::kQuick ? 1 : 2;
            return explore_all(every_pair_of_lanes(requests), rules);
          }};
}

std::vector<Case> cases() {
  return {
      holds("two kills, splits between requests", {}),
      holds("three kills, no splits", {.kills = 3, .splits = Splits::kNever}),
      holds("recovery bumps the pair bucket, too, and judges by the bit", {.recovery_bumps_pair_bucket = true}),
      holds("N at seal 1 always counts as applied, its answer is in the record", {.compares_n = false}),
      holds_for_every_pair_of_lanes("two kills, every pair of short lanes", {}),
      broken("insert and erase judged by the whole header word, which recovery bumps",
             {.judges_by_bit = false, .recovery_bumps_pair_bucket = true}),
      broken("a split before the record is closed", {.splits = Splits::kInsideRequest}),
      broken("no seal", {.seals_records = false}),
      broken("a record rewritten under its old seal", {.unseals_before_rewriting = false}),
      broken("a move out that did not happen leaves its entry", {.recovery_undoes_move_out = false}),
      broken("a move in is not finished by recovery", {.recovery_finishes_move_in = false}),
      broken("the entry of a move in is unlinked after seal 2", {.unlinks_entry_before_seal_2 = false}),
      broken("answered before it is applied", {.commits_before_answer = false}),
      broken("a plain put that a kill interrupts is done again, after others' requests", {.judges_plain_puts = false}),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) {
  return hostmap::models::run_cases(argc, argv, "exactly_once", hostmap::models::cases());
}
