// Waiting until a key changes: two waiters of two clients, a worker that changes the key, and servers that follow each other.
//
// The rules (src/client/wait.cpp, src/table/write/wait_groups.hpp)
//   waiter      W0 the generation; W1 registers, by a request in its ring; W2 the group's word; W3 the key; W4 generation as in W0,
//               and the connection not closed; W5 sleeps if the word is as in W2; W6 again from W2, or from W0 if W4 fails
//   worker      M1 the change; M2 if anybody is registered, the word + 1; M3 wakes a sleeper a round, until there are none
//   new server  N1 the generation + 1; N2 the word + 1; N3 wakes all; it has no registration, and finds the requests in the rings
//   drop        of a connection whose client lives: D1 closed; D2 its registration ends, the word + 1; then as M3
//
// Explored: every interleaving in program order, with a kill of the server between any two of its steps, and one dropped connection.
// Checked: nobody sleeps while the key is another one than it has read, or its connection is closed, unless a step that will wake it
// is still to come.
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
  bool word_before_key = true;         // W2 before W3
  bool registers_before_word = true;   // W1 before W2
  bool checks_generation = true;       // W4
  bool checks_closed = true;           // W4
  bool raises_after_change = true;     // M1 before M2
  bool wakes_the_rest = true;          // M3, again and again
  bool generation_before_word = true;  // N1 before N2
  bool new_server_raises = true;       // N2
  bool closes_before_raising = true;   // D1 before D2
  bool drop_raises = true;             // D2
};

enum Step : Byte { kBegin, kSend, kAwait, kLoadWord, kLook, kCheck, kSleepIfSame, kAsleep, kDone };
enum Request : Byte { kNone, kSent, kAnswered };
enum Server : Byte { kServes, kRaises, kChanges, kDead, kStart1, kStart2 };

struct Waiter {
  Byte step;
  Byte request;
  Byte registered;  // with the server that runs
  Byte closed;
  Byte generation;
  Byte word;
  Byte dropping;  // 0; 1: D1 or D2 is to come; 2: the other one
};

struct Moment {
  Byte value;
  Byte word;
  Byte generation;
  Byte server;
  Byte due;      // sleepers are to be woken
  Byte changes;  // made so far
  Byte kills;
  Byte drops;
  std::array<Waiter, 2> waiters;
};

class Explorer {
 public:
  Explorer(const Rules& rules, int changes) : rules_(rules), most_changes_(changes) {}

  Verdict explore() {
    search_.run(Moment{}, [this](const Moment& now) {
      check(now);
      serve(now);
      start(now);
      for (std::size_t i = 0; i < now.waiters.size(); ++i) {
        drop(now, i);
        wait(now, i);
      }
    });
    return verdict_of(search_, lines);
  }

 private:
  static std::vector<std::string> lines(const std::vector<Moment>& way) {
    std::vector<std::string> all;
    for (const Moment& moment : way) {
      std::string line = "value " + std::to_string(moment.value) + ", word " + std::to_string(moment.word) +
                         ", generation " + std::to_string(moment.generation) + ", server at " +
                         std::to_string(moment.server) + (moment.due != 0 ? ", due" : "");
      for (const Waiter& waiter : moment.waiters) {
        line += "; waiter at " + std::to_string(waiter.step) + ", word " + std::to_string(waiter.word) +
                ", generation " + std::to_string(waiter.generation) + (waiter.registered != 0 ? ", registered" : "") +
                (waiter.closed != 0 ? ", closed" : "");
      }
      all.push_back(line);
    }
    return all;
  }

  void check(const Moment& now) {
    if (now.server != kServes || now.due != 0) return;
    for (const Waiter& waiter : now.waiters) {
      if (waiter.step != kAsleep || waiter.dropping != 0) continue;
      if (now.value != 0) search_.fail(now, "a waiter sleeps although the key has changed");
      if (waiter.closed != 0) search_.fail(now, "a waiter sleeps although its connection is closed");
    }
  }

  static bool any_registered(const Moment& now) {
    return now.waiters[0].registered != 0 || now.waiters[1].registered != 0;
  }
  static void raise(Moment& next) {
    ++next.word;
    next.due = 1;
  }
  static void change(Moment& next) { next.value = 1; }

  void serve(const Moment& now) {
    if (now.server == kDead || now.server >= kStart1) return;
    Moment next = now;
    if (now.kills == 0) {
      next.kills = 1;
      next.server = kDead;
      next.due = 0;
      for (Waiter& waiter : next.waiters) waiter.registered = 0;
      search_.add(next);
      next = now;
    }
    if (now.server == kRaises) {
      if (any_registered(now)) raise(next);
      if (!rules_.raises_after_change) change(next);
      next.server = kServes;
      return search_.add(next);
    }
    if (now.server == kChanges) {
      change(next);
      next.server = kServes;
      return search_.add(next);
    }
    // M1, or M2 if that comes first.
    if (now.changes < most_changes_) {
      ++next.changes;
      if (rules_.raises_after_change) {
        change(next);
        next.server = kRaises;
      } else {
        if (any_registered(now)) raise(next);
        next.server = kChanges;
      }
      search_.add(next);
      next = now;
    }
    for (std::size_t i = 0; i < now.waiters.size(); ++i) {
      if (now.waiters[i].request != kSent || now.waiters[i].closed != 0) continue;
      next.waiters[i].registered = 1;
      search_.add(next);  // a kill may come before the answer
      next.waiters[i].request = kAnswered;
      search_.add(next);
      next = now;
    }
    if (now.due != 0) {
      next.due = 0;
      for (Waiter& waiter : next.waiters) {
        if (waiter.step != kAsleep) continue;
        waiter.step = kLoadWord;
        next.due = rules_.wakes_the_rest ? 1 : 0;
        break;
      }
      search_.add(next);
    }
  }

  void start(const Moment& now) {
    Moment next = now;
    const bool first = now.server == kDead;
    if (first || now.server == kStart1) {
      if (first == rules_.generation_before_word) {
        ++next.generation;
      } else if (rules_.new_server_raises) {
        ++next.word;
      }
      next.server = first ? kStart1 : kStart2;
      search_.add(next);
    } else if (now.server == kStart2) {
      for (Waiter& waiter : next.waiters) {
        if (waiter.step == kAsleep && rules_.new_server_raises) waiter.step = kLoadWord;
      }
      next.server = kServes;
      search_.add(next);
    }
  }

  void drop(const Moment& now, std::size_t i) {
    if (now.server != kServes) return;
    const Byte dropping = now.waiters[i].dropping;
    if (dropping == 0 && (now.drops != 0 || now.waiters[i].registered == 0)) return;
    Moment next = now;
    Waiter& waiter = next.waiters[i];
    if ((dropping == 0) == rules_.closes_before_raising) {
      waiter.closed = 1;
    } else {
      waiter.registered = 0;
      if (rules_.drop_raises) raise(next);
    }
    waiter.dropping = dropping == 0 ? 1 : 0;
    next.drops = 1;
    search_.add(next);
  }

  void wait(const Moment& now, std::size_t i) {
    Moment next = now;
    Waiter& waiter = next.waiters[i];
    const auto go = [&](Byte step) {
      waiter.step = step;
      search_.add(next);
    };
    const Step after_look = rules_.registers_before_word ? kCheck : kSend;
    switch (waiter.step) {
      case kBegin:
        if (waiter.closed != 0) {  // another connection, once the server has let this one go
          if (waiter.dropping != 0) return;
          waiter.closed = 0;
        }
        waiter.request = kNone;
        waiter.generation = now.generation;
        return go(rules_.registers_before_word ? kSend : kLoadWord);
      case kSend:
        waiter.request = kSent;
        return go(kAwait);
      case kAwait:
        if (waiter.closed != 0) return go(kBegin);
        if (waiter.request != kAnswered) return;
        return go(rules_.registers_before_word ? (rules_.word_before_key ? kLoadWord : kLook) : kCheck);
      case kLoadWord:
        waiter.word = now.word;
        return go(rules_.word_before_key ? kLook : after_look);
      case kLook:
        if (now.value != 0) return go(kDone);
        return go(rules_.word_before_key ? after_look : kLoadWord);
      case kCheck:
        if (rules_.checks_generation && now.generation != waiter.generation) return go(kBegin);
        if (rules_.checks_closed && waiter.closed != 0) return go(kBegin);
        return go(kSleepIfSame);
      case kSleepIfSame:
        return go(now.word == waiter.word ? kAsleep : kLoadWord);
      default:
        return;
    }
  }

  Rules rules_;
  int most_changes_;
  Search<Moment> search_;
};

Case make_case(const char* name, const Rules& rules, bool holds = false) {
  return {holds, name, [rules](Effort effort) { return Explorer(rules, Depth{1, 2}.at(effort)).explore(); }};
}

std::vector<Case> cases() {
  return {
      make_case("changes, a kill and a dropped connection", {}, true),
      make_case("the word is loaded after the key", {.word_before_key = false}),
      make_case("a waiter looks before it registers", {.registers_before_word = false}),
      make_case("a waiter does not check the generation", {.checks_generation = false}),
      make_case("a waiter does not check that its connection is open", {.checks_closed = false}),
      make_case("the word is raised before the change", {.raises_after_change = false}),
      make_case("only the first sleepers are woken", {.wakes_the_rest = false}),
      make_case("a new server raises the word before its generation", {.generation_before_word = false}),
      make_case("a new server raises no word", {.new_server_raises = false}),
      make_case("a connection is closed after its groups are raised", {.closes_before_raising = false}),
      make_case("a connection that is dropped raises nothing", {.drop_raises = false}),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "wait", hostmap::models::cases()); }
