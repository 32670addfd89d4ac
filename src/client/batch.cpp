// apply: a batch of independent requests, with an answer for each. multi_put, multi_erase and erase_prefix are built on it.
//
// The requests of a lane are sent one after another through the channel of writes, each with the wish for an answer, and their
// answers are taken in the same order. Up to 64 are on their way in each lane. So a batch costs little more than the queueing of
// the same requests, and one wait at its end.
//
// A get is a direct read, after the answers to all earlier requests of the batch in its lane: the order within a lane is that of
// the batch.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "client/ends.hpp"
#include "client/impl.hpp"
#include "client/numbers.hpp"
#include "client/walk.hpp"

namespace hostmap {

namespace {

// What is sent for each kind of operation.
struct Form {
  Op op;
  Payload payload;
  bool quiet;     // its answer is a code alone
  bool composed;  // its payload is more than a value or a number
  bool plain;     // it changes the key, and its payload is a value or nothing
  NumberForm number = NumberForm::kDecimalInteger;
};
constexpr Form form_of(Op op, NumberForm number = NumberForm::kDecimalInteger) noexcept {
  const OpFacts& facts = facts_of(op);
  return {op,
          facts.payload,
          facts.answer == AnswerForm::kNone,
          has_expectation(facts.payload) || facts.payload == Payload::kAddition,
          facts.payload == Payload::kValue || facts.payload == Payload::kNone,
          number};
}
// In the order of Operation::Kind.
constexpr std::array kForms = {
    form_of(Op::kPut),
    form_of(Op::kInsert),
    form_of(Op::kErase),
    form_of(Op::kCompareExchange),
    form_of(Op::kIncrement),
    form_of(Op::kGet),
    form_of(Op::kPutIf),
    form_of(Op::kEraseIf),
    form_of(Op::kAppend),
    form_of(Op::kReplace),
    form_of(Op::kExpire),
    form_of(Op::kAdd, NumberForm::kDecimalDouble),
    form_of(Op::kAdd, NumberForm::kInteger),
    form_of(Op::kAdd, NumberForm::kDouble),
};
// An increment that names an initial number, or how long a new key lives.
constexpr Form kAddInteger = form_of(Op::kAdd);

void take_answer(void* ticket, const ClientChannel::Answer& answer) noexcept {
  Outcome& outcome = *static_cast<Outcome*>(ticket);
  outcome.status = answer.code;
  if (answer.value.size() == sizeof outcome.number) {
    std::memcpy(&outcome.number, answer.value.data(), sizeof outcome.number);
  }
}

inline void reset(Outcome& outcome) noexcept {
  if (!outcome.status.ok()) [[unlikely]]
    outcome.status = StatusCode::kOk;
  outcome.number = 0;
  outcome.value.clear();
}

void set_all(std::span<Outcome> outcomes, const Status& status) noexcept {
  for (Outcome& outcome : outcomes) outcome.status = status;
}

bool is_known(const Operation& operation) noexcept { return static_cast<std::size_t>(operation.kind) < kForms.size(); }

bool reads_only(const Operation& operation) noexcept {
  return !is_known(operation) || operation.kind == Operation::Kind::kGet;
}

// Of an operation that is not valid whatever the server: its status.
Status check(const Operation& operation) noexcept {
  if (!is_known(operation)) return {StatusCode::kInvalid, "there is no such kind of operation"};
  return is_key(operation.key) ? Status() : key_status(operation.key);
}

void read_into(Client::Impl& impl, const Operation& operation, Outcome& outcome, Deadline& limit) noexcept {
  outcome.status = impl.read_within(limit, operation.key, ValueTarget::string(outcome.value)).status();
}

class Batch {
 public:
  // The caller has the turn to write.
  Batch(Client::Impl& impl, Session& session, Deadline& limit) noexcept
      : impl_(impl), session_(session), limit_(limit) {}
  Status apply(std::span<const Operation> operations, std::span<Outcome> outcomes) noexcept;

 private:
  bool try_begin(const Operation& operation, Outcome& outcome) noexcept;
  Status begin(const Operation& operation, Outcome& outcome) noexcept;
  Status send_composed(std::uint32_t lane, const Form& form, const Operation& operation, Outcome& outcome) noexcept;
  Status send_addition(std::uint32_t lane, const Form& form, const Operation& operation, Outcome& outcome) noexcept;
  Status send_with_end(std::uint32_t lane, const Form& form, const Operation& operation, Outcome& outcome) noexcept;
  Status send(std::uint32_t lane, const Form& form, const Operation& operation, const ValueParts& value,
              Outcome& outcome, std::uint64_t end = kNoEnd) noexcept;
  Status read(std::uint32_t lane, const Operation& operation, Outcome& outcome) noexcept;
  Status finish(std::uint32_t lane) noexcept;
  void give_up(StatusCode code) noexcept;
  ClientChannel& open_channel(std::uint32_t lane) noexcept { return *session_.end().open_channel(lane); }

  Client::Impl& impl_;
  Session& session_;
  Deadline& limit_;
  std::uint32_t lanes_ = 0;     // a bit for each lane in which the batch has sent requests that are not finished
  bool has_additions_ = false;  // it has sent some
  static_assert(kMaxLanes <= 32);
};

Status Batch::apply(std::span<const Operation> operations, std::span<Outcome> outcomes) noexcept {
  Status status;
  std::size_t begun = 0;
  while (begun < operations.size()) {
    if (!try_begin(operations[begun], outcomes[begun])) [[unlikely]] {
      status = begin(operations[begun], outcomes[begun]);
      if (!status.ok()) break;
    }
    ++begun;
  }
  while (status.ok() && lanes_ != 0) status = finish(static_cast<std::uint32_t>(std::countr_zero(lanes_)));
  if (!status.ok()) [[unlikely]] {
    give_up(status.code());
    set_all(outcomes.subspan(begun, operations.size() - begun), status.code());
  }
  for (std::size_t i = 0; has_additions_ && i < begun; ++i) {
    if (outcomes[i].status.ok() || !is_known(operations[i])) continue;
    const Form& form = kForms[static_cast<std::size_t>(operations[i].kind)];
    if (form.op == Op::kAdd) outcomes[i].status = explain_addition(form.number, std::move(outcomes[i].status));
  }
  return status;
}

// Most operations, in a straight line. False: nothing was done, and begin() decides.
inline bool Batch::try_begin(const Operation& operation, Outcome& outcome) noexcept {
  if (!is_known(operation) || !is_key(operation.key)) [[unlikely]]
    return false;
  const Form& form = kForms[static_cast<std::size_t>(operation.kind)];
  if (!form.plain || operation.ttl != kForever ||
      std::max(operation.value.size(), operation.expected.size()) > session_.reader().max_value_bytes()) [[unlikely]] {
    return false;
  }
  const std::uint32_t lane = session_.reader().shard_of(span_of(operation.key));
  if ((lanes_ >> lane & 1) == 0) [[unlikely]]
    return false;
  reset(outcome);
  const auto value = form.payload == Payload::kValue ? span_of(operation.value) : std::span<const std::byte>();
  return open_channel(lane).try_send_in_batch(form.op, form.quiet, span_of(operation.key), value, &outcome);
}

// An error ends the batch; what concerns this operation alone is its outcome.
inline Status Batch::begin(const Operation& operation, Outcome& outcome) noexcept {
  reset(outcome);  // what is not answered, was done
  if (!is_known(operation) || !is_key(operation.key)) [[unlikely]] {
    outcome.status = check(operation);
    return {};
  }
  const Form& form = kForms[static_cast<std::size_t>(operation.kind)];
  const std::uint32_t lane = session_.reader().shard_of(span_of(operation.key));
  if (form.op == Op::kGet) return read(lane, operation, outcome);
  if (std::max(operation.value.size(), operation.expected.size()) > session_.reader().max_value_bytes()) [[unlikely]] {
    outcome.status = StatusCode::kTooLarge;
    return {};
  }
  if (form.composed) [[unlikely]]
    return send_composed(lane, form, operation, outcome);
  std::span<const std::byte> value = span_of(operation.value);
  if (operation.ttl != kForever || form.op == Op::kExpire) [[unlikely]]
    return send_with_end(lane, form, operation, outcome);
  if (form.payload == Payload::kNumber) {
    if (operation.initial != 0) return send_addition(lane, kAddInteger, operation, outcome);
    value = std::as_bytes(std::span(&operation.by, 1));
  }
  if (form.payload == Payload::kNone) value = {};
  if ((lanes_ >> lane & 1) != 0 &&
      open_channel(lane).try_send_in_batch(form.op, form.quiet, span_of(operation.key), value, &outcome)) [[likely]] {
    return {};
  }
  return send(lane, form, operation, value, outcome);
}

Status Batch::send_addition(std::uint32_t lane, const Form& form, const Operation& operation,
                            Outcome& outcome) noexcept {
  const Addition addition{form.number, std::bit_cast<std::uint64_t>(operation.by),
                          std::bit_cast<std::uint64_t>(operation.initial)};
  if (Status status = check_addition(addition, operation.ttl); !status.ok()) {
    outcome.status = std::move(status);
    return {};
  }
  has_additions_ = true;
  return send(lane, form, operation, std::as_bytes(std::span(&addition, 1)), outcome, end_of_put(operation.ttl));
}

Status Batch::send_composed(std::uint32_t lane, const Form& form, const Operation& operation,
                            Outcome& outcome) noexcept {
  if (form.payload == Payload::kAddition) return send_addition(lane, form, operation, outcome);
  if (form.payload == Payload::kComparison) {
    const Comparison comparison{operation.expected.size()};
    return send(lane, form, operation,
                {std::as_bytes(std::span(&comparison, 1)), span_of(operation.expected), span_of(operation.value)},
                outcome);
  }
  const std::span<const std::byte> token = std::as_bytes(std::span(&operation.token, 1));
  const bool has_value = form.payload == Payload::kTokenAndValue;
  if (!(operation.token == Token{})) {
    return send(lane, form, operation, {token, has_value ? span_of(operation.value) : token.first(0), {}}, outcome);
  }
  // The key is expected to be absent.
  if (has_value) return send(lane, form_of(Op::kInsert), operation, span_of(operation.value), outcome);
  outcome.status = absent_key_status();
  return {};
}

// Of an operation that says when its key ends; others may have a time to live, too, which is nothing to them.
Status Batch::send_with_end(std::uint32_t lane, const Form& form, const Operation& operation,
                            Outcome& outcome) noexcept {
  if (form.op == Op::kIncrement) return send_addition(lane, kAddInteger, operation, outcome);
  const bool is_put = facts_of(form.op).ends;
  if (form.op == Op::kInsert || form.op == Op::kExpire ? !is_ttl(operation.ttl)
                                                       : is_put && !is_ttl_of_put(operation.ttl)) {
    outcome.status = ttl_status(operation.ttl);
    return {};
  }
  if (form.op == Op::kExpire) {
    const std::uint64_t end = end_of_expire(operation.ttl);
    return send(lane, form, operation, std::as_bytes(std::span(&end, 1)), outcome);
  }
  const auto value = form.payload == Payload::kValue ? span_of(operation.value) : std::span<const std::byte>();
  return send(lane, form, operation, value, outcome, is_put ? end_of_put(operation.ttl) : kNoEnd);
}

Status Batch::send(std::uint32_t lane, const Form& form, const Operation& operation, const ValueParts& value,
                   Outcome& outcome, std::uint64_t end) noexcept {
  if ((lanes_ >> lane & 1) == 0) {
    const Result<ClientChannel*> channel = session_.channel(lane, limit_);
    if (!channel) {
      if (!(channel.status() == StatusCode::kFull)) return channel.status();
      outcome.status = channel.status();
      return {};
    }
    (*channel)->begin_batch(take_answer);
    lanes_ |= std::uint32_t{1} << lane;
  }
  return open_channel(lane).send_in_batch(form.op, form.quiet, span_of(operation.key), value, &outcome, limit_, end);
}

Status Batch::read(std::uint32_t lane, const Operation& operation, Outcome& outcome) noexcept {
  if (Status status = finish(lane); !status.ok()) return status;
  // This thread has the turn, so the read must find no queued writes for which it would take it.
  if (const std::uint64_t position = session_.queued_position(lane); position != 0) {
    if (Status status = open_channel(lane).await_consumed_and_take_answers(position, limit_); !status.ok())
      return status;
    session_.note_applied(lane);
  }
  // If it connects to another server, the batch notices when it waits for the answers of this one.
  read_into(impl_, operation, outcome, limit_);
  return {};
}

// Takes all answers of a lane.
Status Batch::finish(std::uint32_t lane) noexcept {
  const std::uint32_t bit = std::uint32_t{1} << lane;
  if ((lanes_ & bit) == 0) return {};
  if (Status status = open_channel(lane).take_outcomes(0, limit_); !status.ok()) return status;
  lanes_ &= ~bit;
  session_.note_applied(lane);  // the lane is in order: writes queued before the batch are applied, too
  return {};
}

// The batch ends early: those whose answers have arrived have their outcomes, the others get `code`.
void Batch::give_up(StatusCode code) noexcept {
  for (std::uint32_t lanes = lanes_; lanes != 0; lanes &= lanes - 1) {
    ClientChannel& channel = open_channel(static_cast<std::uint32_t>(std::countr_zero(lanes)));
    static_cast<void>(channel.take_known_outcomes());  // the batch ends already
    channel.give_up_batch([code](void* ticket) noexcept { static_cast<Outcome*>(ticket)->status = code; });
  }
}

}  // namespace

Status Client::Impl::apply(std::span<const Operation> operations, std::span<Outcome> outcomes,
                           Deadline& limit) noexcept {
  if (options.read_only || std::ranges::all_of(operations, reads_only)) {
    for (std::size_t i = 0; i < operations.size(); ++i) {
      Outcome& outcome = outcomes[i];
      reset(outcome);
      outcome.status = check(operations[i]);
      if (!outcome.status.ok()) continue;
      if (!reads_only(operations[i])) {
        outcome.status = may_write();
      } else {
        read_into(*this, operations[i], outcome, limit);
      }
    }
    return {};
  }
  const auto refused = [&](Status status) noexcept {
    set_all(outcomes.first(operations.size()), status);
    return status;
  };
  const Turn turn(own.turn, limit);
  if (!turn) return refused(turn_timed_out());
  const Result<Session*> session = current(limit);
  if (!session) return refused(session.status());
  return Batch(*this, **session, limit).apply(operations, outcomes);
}

Status Client::apply(std::span<const Operation> operations, std::span<Outcome> outcomes) noexcept {
  if (outcomes.size() < operations.size()) {
    return {StatusCode::kInvalid, "there are fewer outcomes than operations; nothing was sent"};
  }
  Deadline limit = impl_->deadline();
  return impl_->apply(operations, outcomes, limit);
}

namespace {

// So many operations are one batch of the calls below.
constexpr std::size_t kGroup = 64;

// Applies `count` operations in batches, which `fill` creates in their order, before one deadline.
template <typename Fill>
std::vector<Status> apply_in_groups(Client::Impl& impl, std::size_t count, const Fill& fill) {
  std::vector<Status> statuses;
  try {
    statuses.reserve(count);
  } catch (...) {
    return {};
  }
  Deadline limit = impl.deadline();
  std::array<Operation, kGroup> operations;
  std::array<Outcome, kGroup> outcomes;
  Status ended;  // why a batch ended early: no later one is sent
  while (statuses.size() < count) {
    const std::size_t size = std::min(kGroup, count - statuses.size());
    if (!ended.ok()) {
      statuses.insert(statuses.end(), size, ended);
      continue;
    }
    fill(statuses.size(), std::span(operations).first(size));
    ended = impl.apply(std::span(operations).first(size), outcomes, limit);
    for (std::size_t i = 0; i < size; ++i) statuses.push_back(std::move(outcomes[i].status));
  }
  return statuses;
}

}  // namespace

std::vector<Status> Client::multi_put(std::span<const KeyValue> entries, std::chrono::milliseconds ttl) noexcept {
  return apply_in_groups(*impl_, entries.size(), [&](std::size_t begin, std::span<Operation> operations) noexcept {
    for (Operation& operation : operations) {
      operation = Operation::put(entries[begin].key, entries[begin].value, ttl);
      ++begin;
    }
  });
}

std::vector<Status> Client::multi_put_from(std::size_t count, NextEntries next, void* from) {
  std::array<KeyValue, kGroup> entries;
  return apply_in_groups(*impl_, count, [&](std::size_t, std::span<Operation> operations) {
    next(from, std::span(entries).first(operations.size()));
    for (std::size_t i = 0; i < operations.size(); ++i) {
      operations[i] = Operation::put(entries[i].key, entries[i].value);
    }
  });
}

std::vector<Status> Client::multi_erase(std::span<const std::string_view> keys) noexcept {
  return apply_in_groups(*impl_, keys.size(), [&](std::size_t begin, std::span<Operation> operations) noexcept {
    for (Operation& operation : operations) operation = Operation::erase(keys[begin++]);
  });
}

std::vector<Status> Client::multi_erase_from(std::size_t count, NextKeys next, void* from) {
  std::array<std::string_view, kGroup> keys;
  return apply_in_groups(*impl_, count, [&](std::size_t, std::span<Operation> operations) {
    next(from, std::span(keys).first(operations.size()));
    for (std::size_t i = 0; i < operations.size(); ++i) operations[i] = Operation::erase(keys[i]);
  });
}

namespace {

// Erases keys in batches, and counts those that were there.
class Eraser {
 public:
  explicit Eraser(Client::Impl& impl) noexcept : impl_(impl) {}
  // False: status() says why no more can be erased.
  bool add(const std::string& key) {
    keys_[count_++] = key;
    return count_ < kGroup || finish();
  }
  bool finish() noexcept {
    std::array<Operation, kGroup> operations;
    std::array<Outcome, kGroup> outcomes;
    for (std::size_t i = 0; i < count_; ++i) operations[i] = Operation::erase(keys_[i]);
    Deadline limit = impl_.deadline();
    status_ = impl_.apply(std::span(operations).first(count_), outcomes, limit);
    for (std::size_t i = 0; i < count_; ++i) {
      const Status& one = outcomes[i].status;
      if (one.ok()) ++erased_;
      if (!one.ok() && !(one == StatusCode::kNotFound) && status_.ok()) status_ = one;
    }
    count_ = 0;
    return status_.ok();
  }
  const Status& status() const noexcept { return status_; }
  std::uint64_t erased() const noexcept { return erased_; }

 private:
  Client::Impl& impl_;
  std::array<std::string, kGroup> keys_;
  std::size_t count_ = 0;
  std::uint64_t erased_ = 0;
  Status status_;
};

Status stopped_after(std::uint64_t erased, const Status& why) noexcept {
  try {
    return {why.code(), std::string(why.message()) + "; erased before that: " + std::to_string(erased) + " keys"};
  } catch (...) {
    return why.code();
  }
}

}  // namespace

Result<std::uint64_t> Client::erase_prefix(Bytes prefix) noexcept {
  std::uint64_t erased = 0;
  if (Status status = erase_prefix(prefix, erased); !status.ok()) return status;
  return erased;
}

Status Client::erase_prefix(Bytes prefix, std::uint64_t& erased) noexcept {
  erased = 0;
  if (prefix.size() == 0) return {StatusCode::kInvalid, "the prefix is empty; call clear to remove every key"};
  Impl& impl = *impl_;
  if (Status status = impl.may_write(); !status.ok()) return status;
  Deadline limit = impl.deadline();
  const Result<Session*> session = impl.current_with_own_writes(limit);
  if (!session) return session.status();
  TableScan scan((*session)->reader(), span_of(prefix));
  Eraser eraser(impl);
  Status status;
  try {
    status = walk(impl, *session, scan, [&](const TableScan& at) {
      return std::ranges::all_of(at.items(), [&](const TableScan::Item& item) { return eraser.add(item.key); });
    });
  } catch (...) {
    status = Status::out_of_memory();
  }
  // Keys that were found are erased, whatever ended the scan.
  if (eraser.status().ok()) eraser.finish();
  if (status.ok()) status = eraser.status();
  erased = eraser.erased();
  return status.ok() || erased == 0 ? status : stopped_after(erased, status);
}

}  // namespace hostmap
