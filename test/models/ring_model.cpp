// Model: a ring, one producer, one consumer, each in its own process.
//
// Modelled: a ring of 2 to 4 units of two words each (16 bytes in the code), over several laps;
// records of one or two units, the first word of which is the tag of its position; padding records
// before the end of the ring; the room that the producer counts from what the consumer has
// published; bytes of earlier laps, chosen by an author who tries to forge a tag; a kill of the
// producer at any store, and of the consumer at any load, and their successors; the closed flag.
//
// The rules (each can be broken, see Rules and the cases at the end):
//   producer  a record of n units only if n <= capacity - (head - consumed), where consumed may
//             have been loaded at any time before; payload (relaxed), then the tag (release)
//   end       a record never straddles it: a padding record, with its own tag, fills the rest
//   tag       a function of position and a nonce that is secret to the two ends: another one for
//             each position ever, never the zero of fresh memory; authors of payload have the tags
//             of positions up to their own at most
//   consumer  polls the word at its position (acquire) until it is that position's tag; copies the
//             payload; moves on; publishes its position (release) some time later
//   restart   a producer's successor writes the last record once more, same position, same bytes,
//             and continues; a consumer's starts from the position in the journal, which is stored
//             when a record is done, before it is published as consumed
//   closed    stored (release) after the last record; a consumer that finds nothing, and then sees
//             the flag, polls the ring once more before it leaves
//
// Stores become visible in any order that C++ allows: a release store after all before it, relaxed
// ones pass each other. A kill leaves a prefix of the producer's program, however much of it is
// visible yet. The consumer's loads are in program order: the poll is an acquire.
//
// Checked: each record that is read is the next one, whole, and published; a poll that finds nothing
// is right; nothing that was sent before the close is lost; nobody waits forever.
//
// Simplified: positions of 16 bits that do not wrap, the second word of a record stands for its
// length and number, no streaming of large messages.

#include <array>
#include <string>
#include <vector>

#include "cases.hpp"
#include "search.hpp"
#include "table_model.hpp"

namespace hostmap::models {
namespace {

constexpr int kMostUnits = 4;
constexpr int kMostRecords = 12;

enum class TagOf { kPosition, kPositionModuloCapacity, kPositionFromZero };

struct Rules {
  // The situation.
  int capacity = 3;           // units
  int kills = 0;              // of the producer
  bool has_successor = true;  // after that; else the ring stays as it is
  int consumer_kills = 0;     // always with a successor
  // The protocol; another value is a broken variant.
  TagOf tag = TagOf::kPosition;
  bool tag_is_secret = true;
  bool tag_comes_last = true;
  bool tag_is_release = true;
  bool checks_room = true;
  bool asks_room_for_padding_and_record = false;
  bool publishes_after_copy = true;
  bool polls_before_copy = true;
  bool closed_is_release = true;
  bool looks_once_more = true;
};

// What a record consists of, except its tag.
struct Record {
  Word position;
  Word units;
  Word is_padding;
  Word number;  // of the message; padding has the number of the message after it
  Word body;    // the word at the start of the second unit
};

class Ring {
 public:
  Ring(const Rules& rules, int messages)
      : rules_(rules), capacity_(static_cast<Word>(rules.capacity)), messages_(messages) {}

  Verdict explore() {
    search_.run(Moment{}, [this](const Moment& now) {
      make_visible(now);
      step_producer(now);
      kill_producer(now);
      step_consumer(now);
      check_progress(now);
    });
    Verdict verdict{search_.states(), search_.exhausted(), search_.failure(), {}};
    if (search_.failed()) verdict.way = [lines = way()] { return lines; };
    return verdict;
  }

 private:
  // Shared words: two for each unit, then the flag and the consumer's position.
  static constexpr int kClosed = 2 * kMostUnits;
  static constexpr int kConsumed = kClosed + 1;
  static constexpr int kSharedWords = kConsumed + 1;
  static constexpr std::size_t kMostPending = 12;
  enum ProducerPhase : Word { kSending, kKilled, kClosing };
  enum ConsumerPhase : Word { kPolling, kCopying, kAskingClosed, kLookingOnceMore, kGone };

  struct Pending {
    Word where;
    Word value;
    Word is_release;
    Word is_overtaken;  // a later store is visible already, so a kill comes too late for this one
    Word publishes;     // 1: this is a record's tag
  };
  struct Moment {
    std::array<Word, kSharedWords> shared;
    // The producer.
    std::array<Pending, kMostPending> pending;  // executed, not yet visible; in program order
    Word pending_count;
    Word producer_phase;
    Word head;
    Word known_consumed;
    Word sent;  // messages
    Word kills;
    Record last;  // what a successor reads in the journal
    // The consumer.
    Word consumer_phase;
    Word tail;
    Word received;  // records, padding included
    std::array<Word, 4> copied;
    Word copied_count;
    Word consumer_kills;
    // What only the model has: the records sent, and how many of them have visible tags.
    std::array<Record, kMostRecords> records;
    Word records_sent;
    Word records_published;
  };

  static std::size_t at(int where) { return static_cast<std::size_t>(where); }

  int word_at(int position, int word) const { return position % capacity_ * 2 + word; }

  Word tag(int position) const {
    switch (rules_.tag) {
      case TagOf::kPosition:
        return static_cast<Word>(position + 1);
      case TagOf::kPositionModuloCapacity:
        return static_cast<Word>(position % capacity_ + 1);
      default:
        return static_cast<Word>(position);
    }
  }

  // Length and number of a record, in its second word.
  static Word description(const Record& record) {
    return static_cast<Word>(0x8000 | record.is_padding << 12 | record.units << 8 | record.number);
  }

  // --- the producer ---

  static void issue(Moment& moment, int where, Word value, bool is_release, bool publishes) {
    moment.pending[moment.pending_count++] = {static_cast<Word>(where), value, static_cast<Word>(is_release), 0,
                                              static_cast<Word>(publishes)};
  }

  void issue_record(Moment& moment, const Record& record, bool is_repeated) const {
    const int position = record.position;
    const auto issue_tag = [&] {
      issue(moment, word_at(position, 0), tag(position), rules_.tag_is_release, !is_repeated);
    };
    if (!rules_.tag_comes_last) issue_tag();
    issue(moment, word_at(position, 1), description(record), false, false);
    if (record.units == 2 && record.is_padding == 0) {
      issue(moment, word_at(position + 1, 0), record.body, false, false);
      issue(moment, word_at(position + 1, 1), static_cast<Word>(0x4000 | record.number), false, false);
    }
    if (rules_.tag_comes_last) issue_tag();
  }

  void send(Moment next, const Record& record) {
    issue_record(next, record, false);
    next.head = static_cast<Word>(next.head + record.units);
    next.sent = static_cast<Word>(next.sent + (record.is_padding != 0 ? 0 : 1));
    next.records[next.records_sent++] = record;
    next.last = record;
    search_.add(next);
  }

  bool has_room(const Moment& now, int units) const {
    return !rules_.checks_room || units <= capacity_ - (now.head - now.known_consumed);
  }

  int units_to_end(const Moment& now) const { return capacity_ - now.head % capacity_; }

  void step_producer(const Moment& now) {
    if (now.producer_phase != kSending) return;
    if (now.known_consumed != now.shared[at(kConsumed)]) {
      Moment next = now;
      next.known_consumed = now.shared[at(kConsumed)];
      search_.add(next);
    }
    // Two records on their way are enough to let their stores pass each other. Where there are
    // kills, one: a successor finds one record.
    if (now.pending_count > (rules_.kills > 0 ? 0 : 4)) return;
    if (now.sent == messages_) {
      Moment next = now;
      issue(next, kClosed, 1, rules_.closed_is_release, false);
      next.producer_phase = kClosing;
      return search_.add(next);
    }
    if (now.records_sent == kMostRecords) return;
    for (Word units = 1; units <= 2; ++units) {
      const bool straddles = units > units_to_end(now);
      if (straddles) {
        const auto rest = static_cast<Word>(units_to_end(now));
        if (has_room(now, rest + (rules_.asks_room_for_padding_and_record ? units : 0))) {
          send(now, {now.head, rest, 1, now.sent, 0});
        }
      } else if (has_room(now, units)) {
        send_each(now, units);
      }
    }
  }

  // The record with every body that its author may choose.
  void send_each(const Moment& now, Word units) {
    const Record record{now.head, units, 0, now.sent, 0};
    send(now, record);
    if (units == 1) return;
    const int last_known = rules_.tag_is_secret ? now.head : now.head + 2 * capacity_;
    for (int position = 0; position <= last_known; ++position) {
      Record forged = record;
      forged.body = tag(position);
      send(now, forged);
    }
  }

  // One of the producer's stores becomes visible.
  void make_visible(const Moment& now) {
    for (std::size_t index = 0; index < now.pending_count; ++index) {
      const Pending& store = now.pending[index];
      bool may = index == 0 || store.is_release == 0;
      for (std::size_t earlier = 0; earlier < index; ++earlier) {
        if (now.pending[earlier].where == store.where) may = false;
      }
      if (!may) continue;
      Moment next = now;
      for (std::size_t earlier = 0; earlier < index; ++earlier) {
        next.pending[earlier].is_overtaken = 1;
      }
      for (std::size_t later = index; later + 1 < now.pending_count; ++later) {
        next.pending[later] = now.pending[later + 1];
      }
      next.pending[--next.pending_count] = {};
      next.shared[store.where] = store.value;
      next.records_published = static_cast<Word>(next.records_published + store.publishes);
      search_.add(next);
    }
  }

  void kill_producer(const Moment& now) {
    if (now.producer_phase == kSending && now.kills < rules_.kills) {
      for (std::size_t left = 0; left < now.pending_count; ++left) kill_after(now, left);
    }
    if (now.producer_phase == kKilled && now.pending_count == 0 && rules_.has_successor) {
      follow_producer(now);
    }
  }

  // The program ends when so many of the pending stores are executed; these become visible.
  void kill_after(const Moment& now, std::size_t executed) {
    Moment next = now;
    bool loses_record = false;
    for (std::size_t lost = executed; lost < now.pending_count; ++lost) {
      if (now.pending[lost].is_overtaken != 0) return;
      loses_record = loses_record || now.pending[lost].publishes != 0;
      next.pending[lost] = {};
    }
    next.pending_count = static_cast<Word>(executed);
    next.producer_phase = kKilled;
    next.kills++;
    if (loses_record) {
      next.records[--next.records_sent] = {};
      next.head = now.last.position;
      next.sent = static_cast<Word>(now.sent - (now.last.is_padding != 0 ? 0 : 1));
    }
    search_.add(next);
  }

  // Whether the last record was published or not, it is written again.
  void follow_producer(const Moment& now) {
    Moment next = now;
    next.producer_phase = kSending;
    next.known_consumed = now.shared[at(kConsumed)];
    const bool was_published = now.head != now.last.position;
    if (was_published) {
      issue_record(next, now.last, true);
      search_.add(next);
    } else {
      send(next, now.last);
    }
  }

  // --- the consumer ---

  void step_consumer(const Moment& now) {
    if (now.consumer_phase != kPolling && now.consumer_phase != kGone && now.consumer_kills < rules_.consumer_kills) {
      Moment next = now;
      next.consumer_kills++;
      next.consumer_phase = kPolling;
      next.copied = {};
      next.copied_count = 0;
      search_.add(next);
    }
    if (now.consumer_phase != kGone && now.shared[at(kConsumed)] != now.tail && now.consumer_phase != kCopying) {
      Moment next = now;
      next.shared[at(kConsumed)] = now.tail;
      search_.add(next);
    }
    switch (now.consumer_phase) {
      case kPolling:
      case kLookingOnceMore:
        return rules_.polls_before_copy ? poll(now) : copy_before_poll(now);
      case kCopying:
        return copy(now);
      case kAskingClosed: {
        Moment next = now;
        const bool is_closed = now.shared[at(kClosed)] != 0;
        next.consumer_phase = is_closed ? kLookingOnceMore : kPolling;
        if (is_closed && !rules_.looks_once_more) return leave(next);
        return search_.add(next);
      }
      default:
        return;
    }
  }

  void poll(const Moment& now) {
    Moment next = now;
    if (now.shared[at(word_at(now.tail, 0))] == tag(now.tail)) {
      next.consumer_phase = kCopying;
      if (!rules_.publishes_after_copy) next.shared[at(kConsumed)]++;
      return search_.add(next);
    }
    find_nothing(next);
  }

  void find_nothing(Moment next) {
    if (next.records_published > next.received) {
      return search_.fail(next, "a published record is not seen");
    }
    if (next.consumer_phase == kLookingOnceMore) return leave(next);
    next.consumer_phase = kAskingClosed;
    search_.add(next);
  }

  void leave(Moment next) {
    next.consumer_phase = kGone;
    if (next.received != next.records_sent) {
      return search_.fail(next, "a message that was sent before the close is lost");
    }
    search_.add(next);
  }

  // One more word of the record, or its end.
  void copy(const Moment& now) {
    Moment next = now;
    const int units = now.copied_count == 0 ? 1 : now.copied[0] >> 8 & 3;
    const bool is_padding = now.copied_count > 0 && (now.copied[0] >> 12 & 1) != 0;
    const int words = is_padding ? 1 : 2 * units - 1;
    if (now.copied_count == 0 || now.copied_count < words) {
      const int word = 1 + now.copied_count;
      next.copied[next.copied_count++] = now.shared[at(word_at(now.tail + word / 2, word % 2))];
      return search_.add(next);
    }
    receive(next, units);
  }

  void receive(Moment next, int units) {
    if (next.received >= next.records_published) {
      return search_.fail(next, "a record is read that was not published");
    }
    const Record& expected = next.records[next.received];
    const bool has_body = expected.units == 2 && expected.is_padding == 0;
    const bool is_whole = next.copied[0] == description(expected) && expected.position == next.tail &&
                          (!has_body || (next.copied[1] == expected.body &&
                                         next.copied[2] == static_cast<Word>(0x4000 | expected.number)));
    if (!is_whole) return search_.fail(next, "what is read is not the record that was sent");
    next.records[next.received++] = {};
    next.tail = static_cast<Word>(next.tail + units);
    next.copied = {};
    next.copied_count = 0;
    next.consumer_phase = kPolling;
    search_.add(next);
  }

  // Without acquire the copy may come before the poll.
  void copy_before_poll(const Moment& now) {
    Moment next = now;
    const bool has_first = now.copied_count > 0;
    const int units = has_first ? now.copied[0] >> 8 & 3 : 0;
    const bool is_padding = has_first && (now.copied[0] >> 12 & 1) != 0;
    const int words = !has_first || is_padding || units == 0 ? 1 : 2 * units - 1;
    if (now.copied_count < words) {
      const int word = 1 + now.copied_count;
      next.copied[next.copied_count++] = now.shared[at(word_at(now.tail + word / 2, word % 2))];
      return search_.add(next);
    }
    if (now.shared[at(word_at(now.tail, 0))] == tag(now.tail)) return receive(next, units);
    next.copied = {};
    next.copied_count = 0;
    find_nothing(next);
  }

  // The producer has a message, the consumer has taken and published everything, and yet there is
  // no room.
  void check_progress(const Moment& now) {
    const bool waits_for_room = now.producer_phase == kSending && now.pending_count == 0 && now.sent < messages_ &&
                                now.received == now.records_sent && now.known_consumed == now.head;
    if (!waits_for_room) return;
    const int rest = units_to_end(now);
    const int needed = rest > 1 ? 2 : rest + (rules_.asks_room_for_padding_and_record ? 2 : 0);
    if (!has_room(now, needed)) search_.fail(now, "the producer waits for room forever");
  }

  std::vector<std::string> way() const {
    std::vector<std::string> lines;
    const std::vector<Moment> moments = search_.way();
    for (std::size_t index = 1; index < moments.size(); ++index) {
      describe_step(moments[index - 1], moments[index], lines);
    }
    return lines;
  }

  void describe_step(const Moment& before, const Moment& after, std::vector<std::string>& lines) const {
    const auto number = [](int value) { return std::to_string(value); };
    if (after.kills > before.kills) lines.push_back("producer: KILLED");
    if (after.consumer_kills > before.consumer_kills) {
      lines.push_back("            consumer: KILLED");
    }
    if (after.records_sent > before.records_sent) {
      const Record& record = after.records[after.records_sent - 1];
      std::string line =
          record.is_padding != 0 ? "producer: sends padding" : "producer: sends message " + number(record.number);
      line += ", units " + number(record.position) + " to " + number(record.position + record.units - 1);
      if (record.body != 0) line += ", its third word = " + number(record.body);
      lines.push_back(line);
    }
    for (int word = 0; word < kSharedWords; ++word) {
      const Word value = after.shared[at(word)];
      if (value == before.shared[at(word)]) continue;
      if (word == kConsumed) {
        lines.push_back("            consumer: consumed = " + number(value));
      } else if (word == kClosed) {
        lines.push_back("visible: closed");
      } else {
        lines.push_back("visible: unit " + number(word / 2) + ", word " + number(word % 2) + " = " + number(value));
      }
    }
    if (after.known_consumed != before.known_consumed) {
      lines.push_back("producer: knows that " + number(after.known_consumed) + " are consumed");
    }
    if (after.consumer_phase != before.consumer_phase) {
      const std::array phases = {"polls", "finds the tag", "finds nothing, loads closed",
                                 "finds it closed, polls once more", "leaves"};
      lines.push_back(std::string("            consumer: ") + phases[after.consumer_phase]);
    }
    if (after.copied_count > before.copied_count) {
      lines.push_back("            consumer: copies word " + number(after.copied_count) + ": " +
                      number(after.copied[after.copied_count - 1U]));
    }
  }

  const Rules rules_;
  const Word capacity_;
  const int messages_;
  Search<Moment> search_;
};

Case make_case(bool must_hold, std::string name, Depth messages, const Rules& rules) {
  return {must_hold, std::move(name), [=](Effort effort) { return Ring(rules, messages.at(effort)).explore(); }};
}
Case holds(std::string name, Depth messages, const Rules& rules) {
  return make_case(true, std::move(name), messages, rules);
}
Case broken(std::string name, Depth messages, const Rules& rules) {
  return make_case(false, std::move(name), messages, rules);
}

std::vector<Case> cases() {
  return {
      holds("two units", {6, 7}, {.capacity = 2}),
      holds("three units", {5, 6}, {.capacity = 3}),
      holds("four units", {4, 5}, {.capacity = 4}),
      holds("two units, the producer is killed, nobody follows", {6, 7},
            {.capacity = 2, .kills = 1, .has_successor = false}),
      holds("three units, the producer is killed, nobody follows", {5, 6},
            {.capacity = 3, .kills = 1, .has_successor = false}),
      holds("two units, two kills, successors repeat the last record", {5, 6}, {.capacity = 2, .kills = 2}),
      holds("three units, two kills, successors repeat the last record", {4, 6}, {.capacity = 3, .kills = 2}),
      holds("three units, producer and consumer are killed", {4, 6}, {.capacity = 3, .kills = 1, .consumer_kills = 1}),
      holds("four units, room for padding and a record of half the ring at once", {4, 5},
            {.capacity = 4, .asks_room_for_padding_and_record = true}),
      broken("tag = position modulo capacity", {4, 4}, {.capacity = 2, .tag = TagOf::kPositionModuloCapacity}),
      broken("the first tag is 0, like fresh memory", {4, 4}, {.capacity = 2, .tag = TagOf::kPositionFromZero}),
      broken("authors of payload have the tags to come", {4, 4}, {.capacity = 2, .tag_is_secret = false}),
      broken("tag stored first", {4, 4}, {.tag_comes_last = false}),
      broken("tag stored relaxed", {4, 4}, {.tag_is_release = false}),
      broken("no room check", {4, 4}, {.checks_room = false}),
      broken("room for padding and a record of more than half the ring at once", {4, 4},
             {.capacity = 2, .asks_room_for_padding_and_record = true}),
      broken("consumed published before the payload is copied", {4, 4}, {.capacity = 2, .publishes_after_copy = false}),
      broken("polled without acquire: payload copied before the poll", {4, 4}, {.polls_before_copy = false}),
      broken("closed stored relaxed", {2, 2}, {.closed_is_release = false}),
      broken("no last poll of the ring after closed is seen", {2, 2}, {.looks_once_more = false}),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "ring", hostmap::models::cases()); }
