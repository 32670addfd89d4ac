// Explores a table model in C++ order: a load may return any value that the C++20 memory model lets
// it return, however old, not only the last one stored.
//
// The server alone stores, so what it has done is a list of stores, and a reader's view is a number:
// the stores up to there have happened before (by what it loaded with acquire from release
// stores). A load returns, of the word that it loads, the last store within the view or any later
// one, but nothing older than an earlier load of the same word has returned. An acquire load of a
// release store moves the view up to that store; of a relaxed store, up to the last release fence
// before it; relaxed loads do so at the next acquire fence. That is the whole of C++20 for one
// storing thread and others that only load: stores and loads of any kind pass each other wherever
// they may. (In program order every load would be an acquire and every store a release.)
//
// Since the reader stores nothing, the server need not wait for it: the explorer runs the server
// through every sequence of requests and kills to the end, and then lets a read begin at every
// point of it, i.e. with every view, and take every choice at each load.
//
// Checked: the result was current at some point between the view with which the read began and the
// view with which it ends. So a later read, by this thread or by one that it synchronizes with, cannot return an older value.
//
// A clear by another worker (`clears_by_others`) is a store of another thread, which makes nothing
// else visible. This worker loads it from some request on, and its own later stores show that; a
// reader may have loaded it without them, and so has a second view, of the fill number alone.
#pragma once

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <unordered_set>
#include <vector>

#include "cases.hpp"
#include "interleavings.hpp"
#include "table_model.hpp"

namespace hostmap::models {

template <typename Model>
class WeakMemory {
 public:
  WeakMemory(const Model& model, const Bounds& bounds, Effort effort)
      : model_(model), bounds_(bounds), most_requests_(bounds.requests.at(effort)) {}

  // The number of states is the number of complete reads. The failure with fewest requests is
  // found first.
  Verdict explore() {
    for (int requests = 1; requests <= most_requests_ && verdict_.failure.empty(); ++requests) {
      start_ = model_.start();
      read_from_.clear();
      serve(start_, requests, bounds_.kills);
    }
    return verdict_;
  }

 private:
  using Server = typename Model::Server;
  static constexpr std::size_t kWords = Server::kSharedWords;

  struct Message {
    Store store;
    std::size_t visible;      // to who acquires this one, the stores up to there are visible
    bool after_kill = false;  // the first one that a recovery stores
    bool by_other = false;    // a clear by another worker
  };
  struct View {
    std::size_t stores;  // numbers up to this one
    std::size_t fill;    // and the clear of this number, if it is a later one
  };

  // A reader's loads, each with the choice that `choices` prescribes; a load beyond them takes its
  // first alternative, the oldest.
  class ChosenLoads {
   public:
    struct Choice {
      std::size_t taken;
      std::size_t alternatives;
    };

    ChosenLoads(const WeakMemory& memory, View begin, std::vector<Choice>& choices)
        : memory_(memory), view_(begin), at_fence_(begin), choices_(choices) {
      oldest_.fill(0);
    }

    Word acquire(int where) {
      const Word value = relaxed(where);
      widen(view_, last_visible_);
      return value;
    }

    Word relaxed(int where) {
      const auto word = static_cast<std::size_t>(where);
      // Store number n is messages_[n - 1]; the candidates are numbers in stores_to_[word].
      const std::vector<std::size_t>& stores = memory_.stores_to_[word];
      auto first = std::prev(std::upper_bound(stores.begin(), stores.end(), view_.stores));
      first = std::max(first, std::lower_bound(stores.begin(), stores.end(), oldest_[word]));
      if (memory_.is_fill(word)) {
        first = std::max(first, std::lower_bound(stores.begin(), stores.end(), view_.fill));
      }
      const auto alternatives = static_cast<std::size_t>(stores.end() - first);

      std::size_t taken = 0;
      if (alternatives > 1) {
        if (used_ == choices_.size()) choices_.push_back({0, alternatives});
        taken = choices_[used_++].taken;
      }
      const std::size_t number = *(first + static_cast<std::ptrdiff_t>(taken));
      oldest_[word] = number;
      last_visible_ = memory_.visible_with(number);
      widen(at_fence_, last_visible_);
      if (trace != nullptr) {
        trace->push_back("            reader: " + memory_.model_.describe(where, memory_.value_of(word, number)) +
                         (number == 0 ? "" : "  (store " + std::to_string(number) + ")"));
      }
      return memory_.value_of(word, number);
    }

    void acquire_fence() { widen(view_, at_fence_); }

    View view() const { return view_; }

    std::vector<std::string>* trace = nullptr;

   private:
    static void widen(View& view, View by) {
      view.stores = std::max(view.stores, by.stores);
      view.fill = std::max(view.fill, by.fill);
    }

    const WeakMemory& memory_;
    View view_;
    View at_fence_;                           // what the next acquire fence makes visible
    View last_visible_{};                     // what the last load made visible, if it acquires
    std::array<std::size_t, kWords> oldest_;  // what was loaded last of each word
    std::vector<Choice>& choices_;
    std::size_t used_ = 0;
  };

  // Every sequence of further requests; a full one is then read.
  void serve(const Server& server, int requests, int kills) {
    if (clears_seen_ < bounds_.clears_by_others && requests > 0) {
      Server cleared = server;
      see_clear(cleared);
      serve(cleared, requests, kills);
      unsee_clear();
    }
    bool is_end = true;
    if (requests > 0) {
      model_.offer_requests(server, [&](const Request<Server>& request) {
        is_end = false;
        store(request, requests - 1, kills, false);
      });
    }
    if (is_end) read();
  }

  // Another worker's clear, which is visible to this one from here on. (Where it is among the stores of
  // a request makes no difference to a reader: only what the worker has loaded does.)
  void see_clear(Server& server) {
    if constexpr (requires { Model::kFill; }) {
      const auto fill = static_cast<Word>(server.shared[Model::kFill] + 1);
      server.shared[Model::kFill] = fill;
      messages_.push_back({{Order::kRelease, Model::kFill, fill}, 0, false, true});
      ++clears_seen_;
    }
  }

  void unsee_clear() {
    messages_.pop_back();
    --clears_seen_;
  }

  // The stores of a request, or of a recovery, with a kill before any of them.
  void store(const Request<Server>& request, int requests, int kills, bool is_recovery) {
    if (!verdict_.failure.empty()) return;
    const std::size_t before = messages_.size();
    const std::size_t fence_before = fence_;
    if (is_recovery) fence_ = 0;  // a fence orders the stores of its own process only
    Server server = server_now();
    server.values_given = request.server().values_given;
    for (const Store& next : request.stores()) {
      if (next.order == Order::kFence) {
        fence_ = messages_.size();
        continue;
      }
      if (messages_.size() > before) recover(server, requests, kills);
      messages_.push_back({next, 0, is_recovery && messages_.size() == before, false});
      messages_.back().visible = next.order == Order::kRelease ? messages_.size() : fence_;
      server.shared[next.where] = next.value;
    }
    recover(server, requests, kills);
    server = request.server();
    if (is_recovery && model_.rebuild(server) != nullptr) {
      fail(model_.rebuild(server), {});
    } else {
      serve(server, requests, kills);
    }
    messages_.resize(before);
    fence_ = fence_before;
  }

  void recover(Server server, int requests, int kills) {
    if (kills == 0) return;
    server.own = {};
    if (clears_seen_ < bounds_.clears_by_others) {
      Server cleared = server;
      see_clear(cleared);
      recover(cleared, requests, kills);
      unsee_clear();
    }
    Request<Server> recovery(server);
    model_.recover(recovery);
    store(recovery, requests, kills - 1, true);
  }

  Server server_now() const {
    Server server = start_;
    for (const Message& message : messages_) {
      server.shared[message.store.where] = message.store.value;
    }
    return server;
  }

  Word value_of(std::size_t word, std::size_t number) const {
    return number == 0 ? start_.shared[word] : messages_[number - 1].store.value;
  }

  static bool is_fill(std::size_t word) {
    if constexpr (requires { Model::kFill; }) return word == Model::kFill;
    return false;
  }

  View visible_with(std::size_t number) const {
    if (number == 0) return {0, 0};
    const Message& message = messages_[number - 1];
    return {message.visible, message.by_other ? number : 0};
  }

  // Every read of what has been stored; clears that this worker has not seen come in here, too.
  void read() {
    if (clears_seen_ < bounds_.clears_by_others) {
      Server cleared = server_now();
      see_clear(cleared);
      read();
      return unsee_clear();
    }
    for (std::size_t word = 0; word < kWords; ++word) stores_to_[word].assign(1, 0);
    memories_.assign(1, start_.shared);
    for (std::size_t number = 1; number <= messages_.size(); ++number) {
      const Store& store = messages_[number - 1].store;
      stores_to_[store.where].push_back(number);
      memories_.push_back(memories_.back());
      memories_.back()[store.where] = store.value;
    }
    for (std::size_t begin = 0; begin <= messages_.size() && verdict_.failure.empty(); ++begin) {
      if (!is_new(begin)) continue;
      read_from({begin, 0});
      for (std::size_t clear = begin + 1; clear <= messages_.size(); ++clear) {
        if (messages_[clear - 1].by_other) read_from({begin, clear});
      }
    }
  }

  // What a reader that begins here can load is this memory and the stores from here on; the same
  // may have been there after other requests.
  bool is_new(std::size_t begin) {
    std::string key(reinterpret_cast<const char*>(memories_[begin].data()), sizeof memories_[begin]);
    for (std::size_t index = begin; index < messages_.size(); ++index) {
      const Message& message = messages_[index];
      key.push_back(static_cast<char>(message.store.where));
      key.push_back(static_cast<char>(message.store.value));
      key.push_back(static_cast<char>(message.store.value >> 8));
      key.push_back(static_cast<char>(std::max(message.visible, begin) - begin));
      key.push_back(static_cast<char>(message.by_other));
    }
    return read_from_.insert(key).second;
  }

  void read_from(View begin) {
    std::vector<typename ChosenLoads::Choice> choices;
    do {
      ChosenLoads loads(*this, begin, choices);
      const ReadResult result = model_.read(loads);
      verdict_.states++;
      if (!is_right(result, begin, loads.view())) {
        std::vector<std::string> trace = {"            reader: begins with the stores up to " +
                                          std::to_string(begin.stores) + " in view"};
        ChosenLoads again(*this, begin, choices);
        again.trace = &trace;
        model_.read(again);
        return fail(wrong_read(result), trace);
      }
      while (!choices.empty() && choices.back().taken + 1 == choices.back().alternatives) {
        choices.pop_back();
      }
      if (!choices.empty()) choices.back().taken++;
    } while (!choices.empty());
  }

  bool is_right(const ReadResult& result, View begin, View end) const {
    if (result.kind == ReadResult::Kind::kAgain) return true;
    if (result.kind == ReadResult::Kind::kTorn) return false;
    for (std::size_t number = begin.stores; number <= end.stores; ++number) {
      if (begin.fill <= number && model_.content(memories_[number]) == result.value) return true;
      if (bounds_.clears_by_others > 0 && is_right_by_fill(result, number, begin, end)) return true;
    }
    return false;
  }

  // The same stores, but with a fill number that the worker had not loaded yet.
  bool is_right_by_fill(const ReadResult& result, std::size_t number, View begin, View end) const {
    if constexpr (requires { Model::kFill; }) {
      for (std::size_t clear = std::max(begin.fill, number); clear <= end.fill; ++clear) {
        if (clear == 0 || !messages_[clear - 1].by_other) continue;
        const Word fill = messages_[clear - 1].store.value;
        if (model_.seen_content(memories_[number], fill) == result.value) return true;
      }
    }
    return false;
  }

  void fail(const std::string& why, const std::vector<std::string>& trace) {
    std::vector<std::string> lines;
    for (std::size_t index = 0; index < messages_.size(); ++index) {
      const Message& message = messages_[index];
      if (message.after_kill) lines.push_back("server: KILLED, recovers");
      lines.push_back((message.by_other ? "another worker: store " : "server: store ") + std::to_string(index + 1) +
                      ": " + model_.describe(message.store.where, message.store.value) +
                      (message.store.order == Order::kRelease ? " (release)" : ""));
    }
    lines.insert(lines.end(), trace.begin(), trace.end());
    verdict_.failure = why;
    verdict_.way = [lines] { return lines; };
  }

  const Model& model_;
  const Bounds bounds_;
  const int most_requests_;
  Server start_;
  std::vector<Message> messages_;
  std::size_t fence_ = 0;                                   // how many stores the last release fence has before it
  std::array<std::vector<std::size_t>, kWords> stores_to_;  // by word: 0, then numbers of stores
  std::vector<std::array<Word, kWords>> memories_;          // after each number of stores
  int clears_seen_ = 0;                                     // of other workers, by this one
  std::unordered_set<std::string> read_from_;
  Verdict verdict_;
};

}  // namespace hostmap::models
