// RawConnection: a connection whose bytes a test can write. It connects as a correct client does, step by step; then the
// test writes anything to it.
//
// One per process and file: closing any descriptor of a connection region drops the process's lock on it.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "message/codec.hpp"
#include "message/wire.hpp"
#include "shm/names.hpp"
#include "shm/owner_lock.hpp"
#include "shm/region.hpp"
#include "slot/client_reservation.hpp"
#include "wait/deadline.hpp"
#include "wait/futex.hpp"

namespace hostmap::test {

class RawConnection {
 public:
  explicit RawConnection(const InstanceName& name) : name_(name), deadline_(std::chrono::seconds(30)) {
    master_region_ = must(Region::attach(name.master(), RegionKind::kMaster, Access::kReadWrite));
    table_ = must(Region::attach(name.table(), RegionKind::kTable, Access::kReadOnly));
    master_ = MasterView(master_region_.data());
    master_.set_mailboxes(master_.header().mailbox_count);
  }
  // All of the steps below.
  static std::unique_ptr<RawConnection> connected(const InstanceName& name) {
    auto connection = std::make_unique<RawConnection>(name);
    connection->id_ = must(reserve_connection(connection->master_, connection->deadline_));
    connection->attach();
    connection->confirm();
    return connection;
  }

  // --- The single steps of connecting (slot/client_reservation.hpp)
  void take_number() { id_ = (master_.header().counter.fetch_add(1) + 1) & kIdMask; }
  // False: the mailbox is taken.
  bool claim() {
    Word& word = master_.mailbox(id_).word;
    std::uint64_t seen = word.load();
    return mailbox_state(seen) == kMailboxFree &&
           word.compare_exchange_strong(seen, mailbox_word(id_, kMailboxClaimed));
  }
  bool ask() {
    std::uint64_t expected = mailbox_word(id_, kMailboxClaimed);
    return master_.mailbox(id_).word.compare_exchange_strong(expected, mailbox_word(id_, kMailboxAsked));
  }
  void ring_server() { master_.ring_server(); }
  // The state of the mailbox once it is not kMailboxAsked any more, or kMailboxAsked when `patience` is over.
  MailboxState await_answer(std::chrono::nanoseconds patience = std::chrono::seconds(30)) {
    Deadline deadline(patience);
    Word& word = master_.mailbox(id_).word;
    for (;;) {
      const std::uint64_t now = word.load();
      if (mailbox_id(now) != id_) return kMailboxFree;
      if (mailbox_state(now) != kMailboxAsked || deadline.left() == 0) return mailbox_state(now);
      futex_wait(reinterpret_cast<HalfWord&>(word), static_cast<std::uint32_t>(now), deadline.left());
    }
  }
  void attach() {
    region_ = must(Region::attach(name_.connection(id_), RegionKind::kConnection, Access::kReadWrite));
    if (try_lock_file(region_.fd()) != LockOutcome::kLocked) throw std::runtime_error("the connection is locked");
    lanes_ = header().lane_count;
    ring_bytes_ = header().ring_bytes;
    request_nonce_ = header().request_nonce;
    answer_nonce_ = header().answer_nonce;
    producer_ = RingProducer(requests(0), 0);
    consumer_ = RingConsumer(answers(0), 0);
  }
  void confirm() {
    if (const Status status = confirm_attached(master_, id_); !status.ok()) throw std::runtime_error("too late");
  }

  // --- Its parts
  std::uint64_t id() const { return id_; }
  MasterView& master() { return master_; }
  const TableHeader& table() const { return *table_.at<TableHeader>(0); }
  const Region& table_region() const { return table_; }
  std::byte* memory() const { return region_.data(); }
  std::uint64_t bytes() const { return region_.bytes(); }
  ConnectionHeader& header() const { return *region_.at<ConnectionHeader>(0); }
  TouchPage& touch_page(std::uint32_t lane) { return *region_.at<TouchPage>(touch_page_offset(lane, lanes())); }
  ChannelControl& control(std::uint32_t channel = 0) const {
    return *region_.at<ChannelControl>(channel_control_offset(channel));
  }
  std::uint64_t ring_bytes() const { return ring_bytes_; }
  std::uint32_t lanes() const { return lanes_; }
  RingView requests(std::uint32_t channel) const {
    return {memory() + request_ring_offset(channel, lanes_, ring_bytes_), ring_bytes_, request_nonce_};
  }
  RingView answers(std::uint32_t channel) const {
    return {memory() + answer_ring_offset(channel, lanes_, ring_bytes_), ring_bytes_, answer_nonce_};
  }
  bool closed_by_server() const { return header().server.closed.load() != 0; }

  // --- Channel 0, used correctly
  RingProducer& producer() { return producer_; }
  void wake_worker(std::uint32_t worker = 0) { futex_add_and_wake(master_.worker_bell(worker).rings); }
  // Writes a request and publishes it.
  void send(Op op, bool wants_answer, std::string_view key, std::string_view value) {
    write(op, wants_answer, key, value);
    publish(record_bytes(key.size() + value.size()));
  }
  // The same in two halves: all but the tag, and the tag.
  void write(Op op, bool wants_answer, std::string_view key, std::string_view value) {
    encode_request(producer_.begin(record_bytes(key.size() + value.size())), op, wants_answer, bytes_of(key),
                   bytes_of(value));
  }
  void publish(std::uint64_t size) {
    producer_.publish(size);
    wake_worker();
  }
  // The code of the next answer, without its value; kTimeout if there is none within that time.
  StatusCode answer(std::chrono::nanoseconds patience = std::chrono::seconds(30)) {
    Deadline deadline(patience);
    while (!consumer_.poll()) {
      if (deadline.left() == 0) return StatusCode::kTimeout;
      if (closed_by_server()) return StatusCode::kClosed;
      cpu_relax();
    }
    std::uint64_t word;
    std::memcpy(&word, consumer_.record() + 8, sizeof word);
    const AnswerHead head = decode_answer_head(word);
    consumer_.advance(record_bytes(head.value_bytes));
    control().answers_consumed.store(consumer_.position());
    return static_cast<StatusCode>(head.code);
  }
  bool await_consumed(std::uint64_t position, std::chrono::nanoseconds patience = std::chrono::seconds(30)) const {
    Deadline deadline(patience);
    while (control().requests_consumed.load() < position) {
      if (deadline.left() == 0 || closed_by_server()) return false;
      cpu_relax();
    }
    return true;
  }

  // --- Channel 0, forged: a record with any header word and any payload, and the correct tag
  void send_forged(std::uint64_t header_word, std::string_view payload = {}) {
    const std::uint64_t size = record_bytes(payload.size());
    std::byte* record = producer_.begin(size);
    std::memcpy(record + 8, &header_word, sizeof header_word);
    if (!payload.empty()) std::memcpy(record + kRecordHeadBytes, payload.data(), payload.size());
    publish(size);
  }

  static std::span<const std::byte> bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
  }

 private:
  template <typename T>
  static T must(Result<T> result) {
    if (!result) throw std::runtime_error(std::string(result.status().message()));
    return std::move(*result);
  }

  InstanceName name_;
  Deadline deadline_;
  Region master_region_;
  Region table_;
  Region region_;
  MasterView master_;
  std::uint64_t id_ = 0;
  std::uint32_t lanes_ = 1;
  std::uint64_t ring_bytes_ = 0;
  std::uint64_t request_nonce_ = 0;
  std::uint64_t answer_nonce_ = 0;
  RingProducer producer_;
  RingConsumer consumer_;
};

}  // namespace hostmap::test
