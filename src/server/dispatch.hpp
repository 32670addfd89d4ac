// Dispatch: the one switch. A validated request becomes a call on the shard, its intent, and its answer.
//
// The channel's worker alone.
#pragma once

#include <cstdint>

#include "journal/journal.hpp"
#include "message/codec.hpp"
#include "server/worker.hpp"
#include "table/table.hpp"

namespace hostmap {

// What a batch did, added to the shared counters once. Puts: all that stores a value.
struct BatchCounts {
  std::uint64_t puts = 0;
  std::uint64_t erases = 0;
  std::uint64_t gets = 0;
  std::uint64_t refused = 0;
  std::uint64_t clears = 0;
};

class Dispatcher {
 public:
  Dispatcher(Table& table, StreamQuota& streams, ServerChannel& channel) noexcept
      : table_(table), streams_(streams), channel_(channel), shard_(table.shard(channel.lane)) {
    shard_.intent().choose(channel.end->identity().serial, channel.channel);
  }

  // Hashes the key of a request that has one, and begins to load its bucket. False: the key belongs to another lane.
  bool prepare(const Request& request, HashedKey& key) const noexcept;
  // Must this request wait, because of what other lanes have to do first?
  bool must_wait(const Request& request) const noexcept { return request.op == Op::kClear && !shard_.may_clear(); }
  // Can must_wait() of later requests depend on this one? Then nothing is decided about those before it is applied.
  static bool changes_who_must_wait(const Request& request) noexcept { return request.op == Op::kClear; }
  // Applies and answers. False: no honest client sends this; nothing was applied.
  bool apply(const Request& request, const HashedKey& key);
  // Forgets a stream that will not be finished.
  void drop_stream() noexcept;

  const BatchCounts& counts() const noexcept { return counts_; }

 private:
  enum class Effect : std::uint8_t { kNone, kSealed };  // kSealed: the table changed, by the request's sealed intent

  [[gnu::always_inline]] inline void begin(const Request& request, StatusCode code, std::uint64_t answer_bytes,
                                           std::uint64_t answer_payload = 0) noexcept;
  [[gnu::always_inline]] inline void put(const Request& request, const HashedKey& key);
  void insert(const Request& request, const HashedKey& key);
  void compare_exchange(const Request& request, const HashedKey& key);
  void increment(const Request& request, const HashedKey& key);
  void erase(const Request& request, const HashedKey& key);
  void clear(const Request& request);
  void get(const Request& request, const HashedKey& key, std::span<const std::byte> cursor);
  bool begin_stream(const Request& request);
  bool take_piece(const Request& request);
  bool finish_stream(const Request& request);
  bool hold_entry() noexcept;
  void apply_whole(const Request& request, const HashedKey& key);
  void finish(const Request& request, StatusCode code, Effect effect, std::span<const std::byte> prefix = {},
              std::span<const std::byte> value = {});

  Table& table_;
  StreamQuota& streams_;
  ServerChannel& channel_;
  ShardWriter& shard_;
  BatchCounts counts_;
};

}  // namespace hostmap
