// IntentWriter: the one record of what a lane's worker is about to do.
//
// A request goes: begin (where it ends, which answer) -> the table fills in and seals what the commit will store -> commit
// -> answer -> positions -> end. A server killed anywhere in between leaves enough to determine whether the commit happened.
//
// The lane's worker alone. All stores keep program order, the compiler included, so that a kill leaves a prefix: that is
// what each release below is for; no other thread reads the record while the worker lives.
#pragma once

#include <cstdint>

#include "layout/journal.hpp"

namespace hostmap {

// What the records cost is measured against a build that writes none (bench question `intents`); a server of that build
// cannot be restarted.
#ifdef HOSTMAP_WITHOUT_INTENTS
inline constexpr bool kWritesIntents = false;
#else
inline constexpr bool kWritesIntents = true;
#endif

class IntentWriter {
 public:
  explicit IntentWriter(Intent& intent) noexcept : intent_(&intent) {}

  // What the commit will store, as IntentKind says.
  struct TablePart {
    IntentKind kind = IntentKind::kAnswer;
    std::uint64_t place = 0;
    std::uint64_t new_word = 0;
  };
  // Of a move between the forms: the cell that is stored, too.
  struct MovedCell {
    std::uint64_t cell;
    std::uint64_t word;
  };
  static constexpr std::uint64_t bit_of(std::uint64_t pair_bucket, unsigned bit) noexcept { return pair_bucket | bit; }

  // Whose requests follow. Not between begin() and end().
  void choose(std::uint64_t serial, std::uint64_t channel) noexcept {
    if constexpr (!kWritesIntents) return;
    // relaxed, both: as in begin()
    intent_->serial.store(serial, std::memory_order_relaxed);
    intent_->channel.store(channel, std::memory_order_relaxed);
  }

  // Fills in the request's part: positions behind it and its answer.
  [[gnu::always_inline]] void begin(std::uint64_t request_next, std::uint64_t answer_next) noexcept {
    if constexpr (!kWritesIntents) return;
    // relaxed, both: the record is open, and until it is sealed the order does not matter
    intent_->request_next.store(request_next, std::memory_order_relaxed);
    intent_->answer_next.store(answer_next, std::memory_order_relaxed);
  }
  // Of a request that is answered: the encoded AnswerHead, should it succeed, and what an increment is answered.
  void begin_answer(std::uint64_t header, std::uint64_t payload) noexcept {
    if constexpr (!kWritesIntents) return;
    // relaxed, both: as in begin()
    intent_->answer[0].store(header, std::memory_order_relaxed);
    intent_->answer[1].store(payload, std::memory_order_relaxed);
  }

  // Completes it: the request is about to commit. Follows begin(), once.
  [[gnu::always_inline]] void seal(const TablePart& table) noexcept {
    if constexpr (!kWritesIntents) return;
    // relaxed, both: as in begin()
    intent_->place.store(table.place, std::memory_order_relaxed);
    intent_->new_word.store(table.new_word, std::memory_order_relaxed);
    // [intent.sealed] release; pairs with [intent.open]: whoever finds the seal (a restarted server) finds the record
    intent_->kind.store(static_cast<std::uint64_t>(table.kind), std::memory_order_release);
    // Nothing of the commit may be stored before the seal: a release store does not hold back what follows it.
    std::atomic_thread_fence(std::memory_order_release);  // [intent.commit] release; pairs with [intent.sealed]
  }
  void seal(const TablePart& table, const MovedCell& moved) noexcept {
    if constexpr (!kWritesIntents) return;
    // relaxed, both: as in begin()
    intent_->move_cell.store(moved.cell, std::memory_order_relaxed);
    intent_->move_word.store(moved.word, std::memory_order_relaxed);
    seal(table);
  }

  // The request is done: commit, answer and positions are stored. What follows is no longer its own.
  [[gnu::always_inline]] void end() noexcept {
    if constexpr (!kWritesIntents) return;
    // [intent.end] release; pairs with [intent.sealed]: behind the positions
    intent_->kind.store(static_cast<std::uint64_t>(IntentKind::kOpen), std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_release);  // [intent.open] release; pairs with [intent.sealed]
  }

 private:
  Intent* intent_;
};

}  // namespace hostmap
