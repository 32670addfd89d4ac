// The bare ring: a record and its answer, which is all that every put must at least consist of. The floor of `put-sync`,
// `put-pipelined` and, without answers, `load64`.
//
// Two threads on two CPUs exchange records through the project's own ring, as client and worker do: 32 bytes there (key
// and value of 8 bytes each), 16 bytes back. Both poll and never sleep, and nothing is behind the ring; not even keys
// are made.
#pragma once

#include <cstdint>
#include <utility>

namespace hostmap::bench {

/// How many records the producer of `bare_ring_pipelined` leaves unanswered at most.
inline constexpr std::uint64_t kMostUnanswered = 32;

/// Nanoseconds of one round trip: each record is sent when the one before it is answered. `count` of them, in batches
/// (bench/harness/batches.hpp). The consumer runs on the first CPU, the producer on the second. Throws std::runtime_error
/// unless all records arrive as they were sent.
[[nodiscard]] double bare_ring_round_trip(std::pair<int, int> cpus, std::uint64_t count);

/// Nanoseconds of a record where up to kMostUnanswered are on their way. A batch ends with its last answer. Otherwise
/// as above.
[[nodiscard]] double bare_ring_pipelined(std::pair<int, int> cpus, std::uint64_t count);

/// Nanoseconds of a record that nobody answers; the producer waits when the ring is full. Otherwise as above.
[[nodiscard]] double bare_ring_stream(std::pair<int, int> cpus, std::uint64_t count);

}  // namespace hostmap::bench
