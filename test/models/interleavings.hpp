// Explores a table model in program order: every store of the server, every load of the reader and
// every kill is one step, in any interleaving.
//
// That is what x86 does except for late stores (weak_memory.hpp has those, too), and it is exact for
// SIGKILL: a kill leaves a prefix of the server's stores. A kill takes the server's own memory and
// what the request had still to store; recovery follows, and can be killed itself.
//
// Checked: a read returns a value that was current at some moment between its first and its last
// load, or misses when K was absent at one (linearizability for one key); the content changes only
// according to the request in progress, by one store, and never by recovery.
//
// A clear by another worker (`clears_by_others`) may fall between any two steps. The request that
// it falls into has read the fill number before it, so what that request puts counts as put just
// before the clear; and a read that took the older number may return what its number shows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cases.hpp"
#include "search.hpp"
#include "table_model.hpp"

namespace hostmap::models {

struct Bounds {
  Depth requests;
  int kills = 0;
  int clears_by_others = 0;
};

// A read so far: the values that its loads gave. The reader is plain code, which is run anew with
// them for each further load; what it needs next is the load that is not there yet.
template <std::size_t kMostLoads>
class ReplayedLoads {
 public:
  ReplayedLoads(const std::array<Word, kMostLoads>& values, Word count) : values_(values), count_(count) {}

  Word acquire(int where) { return load(where); }
  Word relaxed(int where) { return load(where); }
  void acquire_fence() {}

  bool complete() const { return wanted_ < 0; }
  int wanted() const { return wanted_; }

 private:
  // After the first load that is not there, the reader runs on with zeros; nothing of that counts.
  Word load(int where) {
    if (used_ < count_) return values_[used_++];
    if (wanted_ < 0) wanted_ = where;
    return 0;
  }

  const std::array<Word, kMostLoads>& values_;
  const Word count_;
  Word used_ = 0;
  int wanted_ = -1;
};

template <typename Model>
class Interleavings {
 public:
  Interleavings(const Model& model, const Bounds& bounds, Effort effort)
      : model_(model), bounds_(bounds), most_requests_(bounds.requests.at(effort)) {}

  Verdict explore() {
    Moment start{};
    start.server = model_.start();
    start.content = start.wanted = model_.content(start.server.shared);
    search_.run(start, [this](const Moment& now) {
      step_server(now);
      kill_server(now);
      step_reader(now);
      step_others(now);
    });
    Verdict verdict{search_.states(), search_.exhausted(), search_.failure(), {}};
    if (search_.failed()) verdict.way = [lines = way()] { return lines; };
    return verdict;
  }

 private:
  static constexpr std::size_t kMostLoads = 28;
  enum : Word { kServing, kRecovering };

  struct Moment {
    typename Model::Server server;
    std::array<Word, 2> stores;  // of the request in progress: a number of store_lists_
    Word stored;                 // how many of them are done
    Word phase;
    Word requests;
    Word kills;
    Word content;     // what a look-up of K gives now
    Word wanted;      // and what it gives when the request is done
    Word seen;        // values that were current since the read began, as bits
    Word load_count;  // of the read in progress; 0: none is
    std::array<Word, kMostLoads> loads;
  };
  using Loads = ReplayedLoads<kMostLoads>;

  const std::vector<Store>& stores_of(const Moment& moment) const { return store_lists_.list(moment.stores); }

  bool is_quiet(const Moment& moment) const { return moment.stored == stores_of(moment).size(); }

  void step_server(const Moment& now) {
    if (!is_quiet(now)) {
      store_next(now);
    } else if (now.phase == kRecovering) {
      Moment next = now;
      next.phase = kServing;
      const char* wrong = model_.rebuild(next.server);
      if (wrong != nullptr) return search_.fail(next, wrong);
      search_.add(next);
    } else if (now.requests < most_requests_) {
      model_.offer_requests(now.server, [&](const Request<typename Model::Server>& request) {
        Moment next = now;
        next.server.own = request.server().own;
        next.server.values_given = request.server().values_given;
        next.requests++;
        if (request.changes_content()) next.wanted = request.content();
        next.stores = store_lists_.number_of(request.stores());
        if (!is_quiet(next)) store_next(next);
      });
    }
  }

  void store_next(Moment next) {
    const Store& store = stores_of(next)[next.stored++];
    next.server.shared[store.where] = store.value;
    if (is_quiet(next)) finish(next);
    note_content(next);
    if (next.content != next.wanted && next.content != content_before_) {
      return search_.fail(next, "the table's content changes, but not as the request says");
    }
    if (is_quiet(next) && next.content != next.wanted && bounds_.clears_by_others == 0) {
      return search_.fail(next, "the request is done, but the table's content is not what it says");
    }
    search_.add(next);
  }

  static void finish(Moment& moment) {
    moment.stores = StoreLists::kNothing;
    moment.stored = 0;
  }

  void note_content(Moment& moment) {
    content_before_ = moment.content;
    moment.content = model_.content(moment.server.shared);
    if (moment.load_count > 0) see(moment);
  }

  // Adds what is current to the values that the read in progress may return.
  void see(Moment& moment) {
    moment.seen = static_cast<Word>(moment.seen | 1U << moment.content);
    if constexpr (requires { Model::kFill; }) {
      if (bounds_.clears_by_others > 0 && moment.load_count > 0) {
        // The reader's first load is the fill number.
        const Word value = model_.seen_content(moment.server.shared, moment.loads[0]);
        moment.seen = static_cast<Word>(moment.seen | 1U << value);
      }
    }
  }

  void kill_server(const Moment& now) {
    if (now.kills == bounds_.kills) return;
    if (is_quiet(now) && now.phase == kServing && now.requests == 0) return;  // nothing is lost
    Moment next = now;
    next.kills++;
    next.phase = kRecovering;
    next.server.own = {};
    next.wanted = next.content;
    Request request(next.server);
    model_.recover(request);
    next.stores = store_lists_.number_of(request.stores());
    next.stored = 0;
    search_.add(next);
  }

  void step_reader(const Moment& now) {
    Moment next = now;
    Loads before(next.loads, next.load_count);
    model_.read(before);
    if (next.load_count == kMostLoads) {
      std::fprintf(stderr, "a read takes more than %zu loads\n", kMostLoads);
      std::abort();
    }
    next.loads[next.load_count++] = next.server.shared[static_cast<std::size_t>(before.wanted())];
    see(next);

    Loads loads(next.loads, next.load_count);
    const ReadResult result = model_.read(loads);
    if (!loads.complete()) return search_.add(next);
    const bool is_right = result.kind == ReadResult::Kind::kAgain ||
                          (result.kind == ReadResult::Kind::kHit && (next.seen >> result.value & 1) != 0) ||
                          (result.kind == ReadResult::Kind::kMiss && (next.seen & 1) != 0);
    if (!is_right) search_.fail(next, wrong_read(result));
  }

  void step_others(const Moment& now) {
    if constexpr (requires(Model model) { model.offer_stores_of_others(now.server, [](int, Word) {}); }) {
      if (now.phase != kServing) return;
      model_.offer_stores_of_others(now.server, [&](int where, Word value) {
        Moment next = now;
        next.server.shared[static_cast<std::size_t>(where)] = value;
        note_content(next);
        if (next.content != now.content) return search_.fail(next, "another lane changes the key's content");
        search_.add(next);
      });
    }
    if constexpr (requires { Model::kFill; }) {
      if (now.server.shared[Model::kFill] >= bounds_.clears_by_others) return;
      Moment next = now;
      next.server.shared[Model::kFill]++;
      note_content(next);
      if (is_quiet(next)) next.wanted = next.content;
      search_.add(next);
    }
  }

  std::vector<std::string> way() const {
    std::vector<std::string> lines;
    const std::vector<Moment> moments = search_.way();
    for (std::size_t index = 1; index < moments.size(); ++index) {
      const Moment& before = moments[index - 1];
      const Moment& after = moments[index];
      if (after.kills > before.kills) lines.push_back("server: KILLED");
      if (after.phase == kServing && before.phase == kRecovering) lines.push_back("server: serves");
      for (std::size_t word = 0; word < after.server.shared.size(); ++word) {
        const Word value = after.server.shared[word];
        if (value != before.server.shared[word]) {
          lines.push_back("server: " + model_.describe(static_cast<int>(word), value));
        }
      }
      if (after.load_count > before.load_count) {
        Loads loads(after.loads, before.load_count);
        model_.read(loads);
        lines.push_back("            reader: " + model_.describe(loads.wanted(), after.loads[before.load_count]));
      }
    }
    return lines;
  }

  const Model& model_;
  const Bounds bounds_;
  const int most_requests_;
  Search<Moment> search_;
  StoreLists store_lists_;
  Word content_before_ = 0;
};

}  // namespace hostmap::models
