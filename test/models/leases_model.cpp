// Leases of one key: two threads of one client and a second client, servers that follow each other, and a clock.
//
// The rules (src/server/run/leases.hpp, src/server/run/dispatch.cpp)
//   L1  a lease is granted if there is none, or it has ended, or it has failed; its number is one more than the last
//   L2  a grant in place of an ended or failed lease takes that one from its holder's list
//   L3  a release counts if the lease has this number, is held by this client, and has not failed. It frees the key; what is
//       the answer shows whether it was in time
//   L4  a release in time with a failure keeps the lease as failed: only who waited for this number is answered with the failure
//   L5  a connection that ends frees the leases of its list
//   L6  a new server has no lease; its numbers begin above all those of earlier ones. A request that a kill interrupts, or that
//       is still in the ring, is served by the new one; an answer in the ring stays there
//   L7  a call that gives up leaves its request in the ring. A lease that is granted to it is released by the client, by its number,
//       and a call that finds it in its way is repeated
//
// Explored: every interleaving, with a kill of the server before and after each request is served, with the end of a lease and the
// death of the second client at any moment, with a call of the first thread that gives up, and with releases of any number by the
// second client, which holds no lease.
// Checked: of one server's leases one at most is held; numbers of grants grow, across servers, too; a lease that is held is freed by
// nobody but its holder; a release that is answered with success was in time, by its holder; a connection that has ended holds
// none; who has not waited for a lease is not answered with its failure; nobody waits for a lease that was granted to itself.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cases.hpp"
#include "search.hpp"

namespace hostmap::models {
namespace {

using Byte = std::uint8_t;

struct Rules {
  bool refuses_while_held = true;           // L1
  bool grant_leaves_list = true;            // L2
  bool release_compares_number = true;      // L3
  bool release_compares_holder = true;      // L3
  bool release_compares_end = true;         // L3
  bool failure_only_for_who_waited = true;  // L4
  bool ended_connection_frees = true;       // L5
  bool numbers_continue = true;             // L6
  bool late_ones_are_released = true;       // L7
  bool late_ones_by_number = true;          // L7
};

enum Step : Byte { kIdle, kAsks, kGranted, kReleases, kFails, kReleased, kGone };

constexpr Byte kFirstOfServer = 16;  // numbers of one server, at most
constexpr Byte kUnserved = 255;

struct Thread {
  Byte step;
  Byte number;   // of the lease that it holds or held; of a forged release, any
  Byte awaited;  // of the lease that another one was seen to hold
  Byte rounds;   // begun
  Byte holds;    // it was granted the lease by the server that runs, and neither ended nor released it
  Byte
      late;  // kUnserved: the request of a call that gave up is in the ring; else the number that was granted to it, or 0
};

struct Moment {
  // The server's memory.
  Byte number;  // of the lease; 0: there is none
  Byte holder;  // the client, from 1 on
  Byte ended;
  Byte failed;
  Byte last_number;
  std::array<Byte, 2> lists;  // of each client: does it contain the key?
  Byte generation;
  Byte kills;
  // Beside the system: the greatest number that was granted.
  Byte greatest;
  std::array<Thread, 3> threads;
};

constexpr std::size_t kHasty = 0;  // the thread whose calls may give up
constexpr std::size_t kOther = 2;  // the thread of the second client

class Explorer {
 public:
  Explorer(const Rules& rules, bool gives_up, Effort effort)
      : rules_(rules), gives_up_(gives_up), most_kills_(gives_up ? 1 : Depth{1, 2}.at(effort)) {
    most_rounds_.fill(2);
    if (gives_up_ && effort == Effort::kQuick) most_rounds_[1] = most_rounds_[kOther] = 1;
  }

  Verdict explore() {
    search_.run(Moment{}, [this](const Moment& now) {
      kill(now);
      end(now);
      drop(now);
      for (std::size_t i = 0; i < now.threads.size(); ++i) {
        serve(now, i);
        act(now, i);
      }
      serve_late(now);
    });
    return verdict_of(search_, lines);
  }

 private:
  static std::vector<std::string> lines(const std::vector<Moment>& way) {
    std::vector<std::string> all;
    for (const Moment& moment : way) {
      std::string line = "generation " + std::to_string(moment.generation) + ", lease " +
                         std::to_string(moment.number) + " of client " + std::to_string(moment.holder) +
                         (moment.ended != 0 ? ", ended" : "") + (moment.failed != 0 ? ", failed" : "");
      for (const Thread& thread : moment.threads) {
        line += "; thread at " + std::to_string(thread.step) + " with " + std::to_string(thread.number) +
                (thread.holds != 0 ? ", holds" : "") +
                (thread.late != 0 ? ", late " + std::to_string(thread.late) : "");
      }
      all.push_back(line);
    }
    return all;
  }

  static Byte client_of(std::size_t thread) { return thread == kOther ? 2 : 1; }

  // What the server has done must leave a lease that somebody holds where it is.
  void add(const Moment& next) {
    for (std::size_t i = 0; i < next.threads.size(); ++i) {
      const Thread& thread = next.threads[i];
      if (thread.holds == 0) continue;
      if (next.number != thread.number || next.holder != client_of(i)) {
        return search_.fail(next, "a lease that is held was given away");
      }
    }
    if (next.threads[kOther].step == kGone && next.holder == client_of(kOther)) {
      return search_.fail(next, "a connection that has ended still holds the lease");
    }
    search_.add(next);
  }

  static void forget(Moment& next) { next.number = next.holder = next.ended = next.failed = 0; }

  void kill(const Moment& now) {
    if (now.kills == most_kills_) return;
    Moment next = now;
    ++next.kills;
    ++next.generation;
    forget(next);
    next.lists = {};
    next.last_number = rules_.numbers_continue ? static_cast<Byte>(next.generation * kFirstOfServer) : 0;
    for (Thread& thread : next.threads) thread.holds = 0;
    add(next);
  }

  void end(const Moment& now) {
    if (now.number == 0 || now.ended != 0) return;
    Moment next = now;
    next.ended = 1;
    for (Thread& thread : next.threads) thread.holds = 0;
    add(next);
  }

  void drop(const Moment& now) {
    if (now.threads[kOther].step == kGone) return;
    Moment next = now;
    next.threads[kOther] = {};
    next.threads[kOther].step = kGone;
    if (rules_.ended_connection_frees && next.lists[1] != 0) {
      forget(next);
      next.lists[1] = 0;
    }
    add(next);
  }

  void serve(const Moment& now, std::size_t i) {
    Moment next = now;
    Thread& thread = next.threads[i];
    if (thread.late == kUnserved) return;  // requests are served in their order
    if (thread.step == kAsks) {
      serve_lease(next, i);
    } else if (thread.step == kReleases || thread.step == kFails) {
      serve_release(next, i);
    }
  }

  void serve_lease(Moment& next, std::size_t i) {
    Thread& thread = next.threads[i];
    const bool counts = next.number != 0 && next.ended == 0;
    if (counts && next.failed == 0 && rules_.refuses_while_held) {
      if (thread.late == next.number && !rules_.late_ones_are_released) {
        return search_.fail(next, "a thread waits for a lease that was granted to itself");
      }
      thread.awaited = next.number;
      return add(next);  // the call is repeated
    }
    if (counts && next.failed != 0 && (thread.awaited == next.number || !rules_.failure_only_for_who_waited)) {
      if (thread.awaited != next.number) {
        return search_.fail(next, "a failure is the answer for a thread that has not waited for it");
      }
      thread.step = kIdle;
      return add(next);
    }
    if (!grant(next, i)) return;
    Moment lost = next;  // a kill before the answer is sealed
    thread.step = kGranted;
    thread.number = next.number;
    thread.holds = 1;
    add(next);
    lost.threads[i].step = kAsks;
    kill(lost);
  }

  // False: that is a fault.
  bool grant(Moment& next, std::size_t i) {
    for (const Thread& other : next.threads) {
      if (other.holds != 0) return search_.fail(next, "two hold the lease"), false;
    }
    if (next.number != 0 && rules_.grant_leaves_list) next.lists[next.holder - 1] = 0;
    forget(next);
    next.number = ++next.last_number;
    next.holder = client_of(i);
    next.lists[next.holder - 1] = 1;
    if (next.number <= next.greatest) {
      return search_.fail(next, "the number of a lease is not above those before it"), false;
    }
    next.greatest = next.number;
    return true;
  }

  // The request of the call that gave up, and then the release of what was granted to it: a later call, of whichever thread of the
  // client, has found the answer.
  void serve_late(const Moment& now) {
    Moment next = now;
    Byte& late = next.threads[kHasty].late;
    if (late == 0) return;
    if (late == kUnserved) {
      late = 0;
      if (next.number != 0 && next.ended == 0 && next.failed == 0) return add(next);
      if (!grant(next, kHasty)) return;
      late = next.number;
      return add(next);
    }
    if (!rules_.late_ones_are_released) return;
    const bool is_its = next.number != 0 && next.failed == 0 && next.holder == client_of(kHasty) &&
                        (next.number == late || !rules_.late_ones_by_number);
    late = 0;
    if (is_its) {
      next.lists[next.holder - 1] = 0;
      forget(next);
    }
    add(next);
  }

  void serve_release(Moment& next, std::size_t i) {
    Thread& thread = next.threads[i];
    const bool fails = thread.step == kFails;
    const bool is_its = next.number != 0 && next.failed == 0 &&
                        (!rules_.release_compares_number || next.number == thread.number) &&
                        (!rules_.release_compares_holder || next.holder == client_of(i));
    thread.step = kReleased;
    if (!is_its) return add(next);
    const bool in_time = next.ended == 0 || !rules_.release_compares_end;
    if (in_time && thread.holds == 0) {
      return search_.fail(next, "a release succeeds for a thread that does not hold the lease");
    }
    thread.holds = 0;
    if (in_time && fails) {
      next.failed = 1;
    } else {
      next.lists[next.holder - 1] = 0;
      forget(next);
    }
    add(next);
  }

  // What a client's thread does by itself.
  void act(const Moment& now, std::size_t i) {
    const auto go = [&](Byte step) {
      Moment next = now;
      Thread& thread = next.threads[i];
      thread.step = step;
      if (step == kAsks) {
        ++thread.rounds;
        thread.awaited = 0;
      }
      add(next);
    };
    const Thread& thread = now.threads[i];
    switch (thread.step) {
      case kIdle:
      case kReleased:
        if (thread.rounds < most_rounds_[i]) go(kAsks);
        if (i == kOther && thread.step == kIdle) forge(now);
        return;
      case kAsks:
        if (gives_up_ && i == kHasty && thread.late == 0) give_up(now);
        return;
      case kGranted:
        go(kReleases);
        go(kFails);
        return;
      default:
        return;
    }
  }

  // The call of the first thread returns, and its request stays in the ring.
  void give_up(const Moment& now) {
    Moment next = now;
    next.threads[kHasty].late = kUnserved;
    next.threads[kHasty].step = kIdle;
    add(next);
  }

  // A hostile client releases a lease that it was never granted.
  void forge(const Moment& now) {
    if (now.number == 0 || now.number == now.threads[kOther].number) return;
    Moment next = now;
    next.threads[kOther].step = kReleases;
    next.threads[kOther].number = now.number;
    add(next);
  }

  Rules rules_;
  bool gives_up_;
  std::array<int, 3> most_rounds_{};
  int most_kills_;
  Search<Moment> search_;
};

Case make_case(const char* name, const Rules& rules, bool gives_up = false, bool holds = false) {
  return {holds, name, [=](Effort effort) { return Explorer(rules, gives_up, effort).explore(); }};
}

std::vector<Case> cases() {
  return {
      make_case("ends, failures, kills, a client that dies, forged releases", {}, false, true),
      make_case("the same, and a thread whose calls give up", {}, true, true),
      make_case("a lease is granted while another one is held", {.refuses_while_held = false}),
      make_case("a grant leaves the lease in the list of the former holder", {.grant_leaves_list = false}),
      make_case("a release does not compare the number", {.release_compares_number = false}),
      make_case("a release does not compare the holder", {.release_compares_holder = false}),
      make_case("a release after the end succeeds", {.release_compares_end = false}),
      make_case("a failure is the answer for whoever asks", {.failure_only_for_who_waited = false}),
      make_case("a connection that ends keeps its leases", {.ended_connection_frees = false}),
      make_case("the numbers of a new server begin anew", {.numbers_continue = false}),
      make_case("a lease that was granted to a call that gave up is kept", {.late_ones_are_released = false}, true),
      make_case("such a lease is released whatever its number", {.late_ones_by_number = false}, true),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "leases", hostmap::models::cases()); }
