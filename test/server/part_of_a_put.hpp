// A client that stops in the middle of a put in pieces: ClientChannel would withdraw it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "buffer/ring.hpp"
#include "layout/connection.hpp"
#include "message/codec.hpp"

namespace hostmap::test {

// Sends the head and some of the bytes in channel 0 of a connection, whose client has sent `sent` bytes so far and sends no more.
// Nobody is woken. Returns what it has sent then.
inline std::uint64_t send_part_of_a_put(std::byte* connection, std::uint64_t sent, const std::string& key,
                                        const std::string& value) {
  constexpr std::uint64_t kPart = 500;
  const auto& header = *reinterpret_cast<const ConnectionHeader*>(connection);
  const std::uint64_t at = request_ring_offset(0, header.lane_count, header.ring_bytes);
  RingProducer ring({connection + at, header.ring_bytes, header.request_nonce}, sent);
  const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  encode_stream(ring.begin(record_bytes(kStreamPayloadBytes)), Op::kPut, key.size(), value.size());
  ring.publish(record_bytes(kStreamPayloadBytes));
  encode_piece(ring.begin(record_bytes(kPart)), 0, bytes(key), bytes(value), 0, kPart);
  ring.publish(record_bytes(kPart));
  return sent + record_bytes(kStreamPayloadBytes) + record_bytes(kPart);
}

// Withdraws that put, and sends a short one. Returns what the client has sent then.
inline std::uint64_t withdraw_put(std::byte* connection, std::uint64_t sent, const std::string& key,
                                  const std::string& value) {
  const auto& header = *reinterpret_cast<const ConnectionHeader*>(connection);
  const std::uint64_t at = request_ring_offset(0, header.lane_count, header.ring_bytes);
  RingProducer ring({connection + at, header.ring_bytes, header.request_nonce}, sent);
  const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  encode_piece(ring.begin(record_bytes(0)), 0, {}, {}, 0, 0);
  ring.publish(record_bytes(0));
  const std::uint64_t size = record_bytes(key.size() + value.size());
  encode_request(ring.begin(size), Op::kPut, 0, bytes(key), bytes(value));
  ring.publish(size);
  return ring.head();
}

}  // namespace hostmap::test
