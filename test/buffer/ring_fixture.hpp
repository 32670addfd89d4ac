// Shared by the tests of the ring: records whose content proves that they are whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"

namespace hostmap::test {

inline constexpr std::uint64_t kNonce = 0x0123'4567'89ab'cdef;

// Record number `number` of a stream: its size, header and every word of its payload follow from the number.
struct ProvenRecord {
  std::uint64_t number;
  std::uint64_t size;  // of the whole record

  std::uint64_t header() const { return (number + 1) << 16 | size / kRecordUnit; }  // never 0, which is padding
  std::uint64_t word(std::uint64_t index) const {
    std::uint64_t mixed = (number + 1) * 0x9e37'79b9'7f4a'7c15 + index * 0xbf58'476d'1ce4'e5b9;
    mixed ^= mixed >> 31;
    return mixed * 0x94d0'49bb'1331'11eb;
  }

  void write(std::byte* record) const {
    const std::uint64_t head = header();
    std::memcpy(record + 8, &head, sizeof head);
    for (std::uint64_t at = kRecordHeadBytes; at < size; at += 8) {
      const std::uint64_t value = word(at);
      std::memcpy(record + at, &value, sizeof value);
    }
  }

  // The record at `record`, if it is whole and fits into `limit`.
  static std::optional<ProvenRecord> read(const std::byte* record, std::uint64_t limit) {
    std::uint64_t head;
    std::memcpy(&head, record + 8, sizeof head);
    const ProvenRecord claimed{(head >> 16) - 1, (head & 0xffff) * kRecordUnit};
    if (claimed.size < kRecordHeadBytes || claimed.size > limit) return std::nullopt;
    for (std::uint64_t at = kRecordHeadBytes; at < claimed.size; at += 8) {
      std::uint64_t value;
      std::memcpy(&value, record + at, sizeof value);
      if (value != claimed.word(at)) return std::nullopt;
    }
    return claimed;
  }
};

inline void produce(RingProducer& producer, const ProvenRecord& record) {
  record.write(producer.begin(record.size));
  producer.publish(record.size);
}

// Takes the record that poll() has found. Returns none if it is not whole.
inline std::optional<ProvenRecord> consume(RingConsumer& consumer) {
  const std::optional<ProvenRecord> record = ProvenRecord::read(consumer.record(), consumer.limit());
  if (record) consumer.advance(record->size);
  return record;
}

}  // namespace hostmap::test
