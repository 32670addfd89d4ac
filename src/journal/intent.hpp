// IntentWriter: the one record that says what a lane's worker is about to do (DESIGN: D7).
//
// A request goes: begin (whose request, which answer) -> the table fills in and seals what the commit will store -> commit
// -> answer -> applied. A server killed anywhere in between leaves enough to tell whether the commit happened.
//
// The lane's worker alone. All stores keep program order, the compiler included, so that a kill leaves a prefix: that is
// what each release below is for; no other thread reads the record while the worker lives.
#pragma once

#include <cstdint>

#include "shm/layout.hpp"

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

  struct RequestPart {
    std::uint64_t serial;  // of the connection
    std::uint64_t channel;
    std::uint64_t request_position;
    std::uint64_t request_next;
    std::uint64_t answer_position;  // equal to answer_next: no answer is wanted
    std::uint64_t answer_next;
    std::uint64_t answer_header;       // encoded AnswerHead, should the request succeed
    std::uint64_t answer_payload = 0;  // what an increment is answered
  };

  // The table's part of the record, and the seal. `place` and words as IntentKind says.
  struct TablePart {
    IntentKind kind = IntentKind::kNothing;
    std::uint64_t bucket = 0;
    std::uint64_t place = 0;
    std::uint64_t old_word = 0;
    std::uint64_t new_word = 0;
    std::uint64_t move_cell = 0;
    std::uint64_t move_word = 0;
  };

  // Opens the record for a request: whose it is, and what it will be answered.
  void begin(const RequestPart& request) noexcept {
    if constexpr (!kWritesIntents) return;
    Intent& i = *intent_;
    // [intent.reopen] release; pairs with [intent.sealed]: behind the positions of the request before
    i.seal.store(kSealOpen, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_release);  // [intent.open] release; pairs with [intent.sealed]
    // relaxed, all of them: between the two seals their order does not matter
    constexpr auto kRelaxed = std::memory_order_relaxed;
    i.serial.store(request.serial, kRelaxed);
    i.channel.store(request.channel, kRelaxed);
    i.request_position.store(request.request_position, kRelaxed);
    i.request_next.store(request.request_next, kRelaxed);
    i.answer_position.store(request.answer_position, kRelaxed);
    i.answer_next.store(request.answer_next, kRelaxed);
    i.answer[0].store(request.answer_header, kRelaxed);
    i.answer[1].store(request.answer_payload, kRelaxed);
  }

  // Completes it: the request is about to commit. Follows begin(), once.
  void seal(const TablePart& table) noexcept {
    if constexpr (!kWritesIntents) return;
    Intent& i = *intent_;
    constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: as in begin()
    i.kind.store(static_cast<std::uint64_t>(table.kind), kRelaxed);
    i.bucket.store(table.bucket, kRelaxed);
    i.place.store(table.place, kRelaxed);
    i.old_word.store(table.old_word, kRelaxed);
    i.new_word.store(table.new_word, kRelaxed);
    i.move_cell.store(table.move_cell, kRelaxed);
    i.move_word.store(table.move_word, kRelaxed);
    // [intent.sealed] release; pairs with [intent.open]: whoever finds the seal (a restarted server) finds the record
    i.seal.store(kSealIntent, std::memory_order_release);
    // Nothing of the commit may be stored before the seal: a release store does not hold back what follows it.
    std::atomic_thread_fence(std::memory_order_release);  // [intent.commit] release; pairs with [intent.sealed]
  }

  // The commit and the answer are stored.
  void applied() noexcept {
    if constexpr (!kWritesIntents) return;
    // [intent.applied] release; pairs with [intent.sealed]
    intent_->seal.store(kSealApplied, std::memory_order_release);
  }

  // Names the primary bucket of the entry chain whose cells change next; before any cell of it does. A restart raises that
  // bucket's version before it takes any memory for free.
  void touch(std::uint64_t primary) noexcept {
    if constexpr (!kWritesIntents) return;
    // relaxed: this thread wrote it last
    if (intent_->touched.load(std::memory_order_relaxed) == primary) return;
    // [intent.touch] release; pairs with [intent.touched]
    intent_->touched.store(primary, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_release);  // [intent.touched] release; pairs with [intent.touch]
  }

 private:
  Intent* intent_;
};

}  // namespace hostmap
