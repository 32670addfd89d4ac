// Dispatch: the one switch. A validated request becomes a call on the shard, its intent, and its answer.
//
// The channel's worker alone.
#pragma once

#include <cstdint>

#include "journal/journal.hpp"
#include "journal/piece_store.hpp"
#include "message/codec.hpp"
#include "server/run/channel.hpp"
#include "server/run/stream_quota.hpp"
#include "table/write/table.hpp"

namespace hostmap {

// What a batch did, added to the shared counters once. Puts: all operations that store a value.
struct BatchCounts {
  std::uint64_t puts = 0;
  std::uint64_t erases = 0;
  std::uint64_t gets = 0;
  std::uint64_t hits = 0;  // of these
  std::uint64_t refused = 0;
  std::uint64_t clears = 0;
};

// kNotYet: nothing was applied; the request is to be retried after other channels have been served.
enum class Applied : std::uint8_t { kDone, kNotYet, kMalformed };

class Dispatcher {
 public:
  Dispatcher(Table& table, StreamQuota& streams, const PieceStore& pieces, ServerChannel& channel) noexcept
      : table_(table), streams_(streams), pieces_(pieces), channel_(channel), shard_(table.shard(channel.lane)) {
    shard_.intent().choose(channel.end->identity().serial, channel.channel);
  }

  // Hashes the key of a request that has one, and begins to load its bucket. False: the key belongs to another lane.
  bool prepare(const Request& request, HashedKey& key) const noexcept;
  // Must this request wait for work that other lanes have to do first?
  bool must_wait(const Request& request) const noexcept { return request.op == Op::kClear && !shard_.may_clear(); }
  // Can must_wait() of later requests depend on this one? If so, they are examined only after it is applied.
  static bool affects_waiting(const Request& request) noexcept { return request.op == Op::kClear; }
  // Applies and answers. kMalformed: no honest client sends this; nothing was applied.
  Applied apply(const Request& request, const HashedKey& key);
  // Drops a stream that will not be finished.
  void drop_stream() noexcept;
  // Drops what was done for a request that is not finished. Nothing of it is in the table.
  void drop_long_work() noexcept { drop_long_work(channel_, shard_, streams_); }
  static void drop_long_work(ServerChannel& channel, ShardWriter& shard, StreamQuota& streams) noexcept;
  // The same of the work that is alone in its lane, if its request is in the ring no more. An honest client leaves it there.
  static void drop_lone_work_if_withdrawn(LoneWork& lone, ShardWriter& shard, StreamQuota& streams) noexcept;
  // Of a connection that ends: ends its registrations, and wakes whoever sleeps there. Before this, the connection is closed:
  // its threads must not sleep again.
  void drop_watches() noexcept;
  // Likewise: releases its leases, and wakes whoever waits for them.
  void drop_leases() noexcept;

  const BatchCounts& counts() const noexcept { return counts_; }
  bool evicts() const noexcept { return shard_.evicts(); }

 private:
  enum class Effect : std::uint8_t { kNone, kSealed };  // kSealed: the table changed, by the request's sealed intent

  [[gnu::always_inline]] inline void begin(const Request& request, StatusCode code, std::uint64_t answer_bytes,
                                           std::uint64_t answer_payload = 0) noexcept;
  Applied apply_keyed(const Request& request, const HashedKey& key);
  Applied store(const Request& request, const HashedKey& key);
  [[gnu::always_inline]] inline Applied put(const Request& request, const HashedKey& key);
  Applied compare_exchange(const Request& request, const HashedKey& key);
  Applied put_and_keep_end(Request request, const HashedKey& key, const ShardWriter::Found& old);
  bool is_long(const Request& request) const noexcept { return request.value.size() > shard_.step_bytes(); }
  Applied put_long(const Request& request, const HashedKey& key, const ShardWriter::Found& old);
  Applied apply_to_value(const Request& request, const HashedKey& key);
  LongWork& long_work(const Request& request, const ShardWriter::Found& old) noexcept;
  bool may_work_alone() noexcept;
  bool hold_block(const HashedKey& key, LongWork& work, std::uint64_t value_bytes, std::uint64_t end, Effort& effort);
  static void drop_block(ServerChannel& channel, ShardWriter& shard, StreamQuota& streams) noexcept;
  Applied put_in_steps(const Request& request, const HashedKey& key, const ShardWriter::Found& old,
                       std::span<const std::byte> head, std::uint64_t end, StatusCode& code);
  Applied change_if(const Request& request, const HashedKey& key);
  // Has this batch served so much beyond the channel's share that a request whose work its size does not show must wait? Not
  // at the beginning of a batch.
  bool is_in_debt() const noexcept { return kGuarded && channel_.debt >= kShareBytes; }
  Applied increment(const Request& request, const HashedKey& key);
  Applied add(const Request& request, const HashedKey& key);
  Applied append(const Request& request, const HashedKey& key);
  // Stores the outcome of a computation, and answers with it as 64 bits.
  Applied put_number(const Request& request, const HashedKey& key, std::span<const std::byte> value, std::uint64_t end,
                     std::uint64_t answer);
  Applied refuse(const Request& request, StatusCode code);
  bool make_room_and_put(const Request& request, const HashedKey& key, std::span<const std::byte> value,
                         std::uint64_t end, StatusCode& code);
  Applied expire(const Request& request, const HashedKey& key);
  Applied watch(const Request& request);
  bool is_of_lane(std::uint64_t hash) const noexcept;
  Applied lease(const Request& request);
  Applied release(const Request& request);
  void erase(const Request& request, const HashedKey& key);
  void clear(const Request& request);
  void get(const Request& request, const HashedKey& key, std::span<const std::byte> cursor);
  Applied begin_stream(const Request& request);
  Applied take_piece(const Request& request);
  Applied finish_stream(const Request& request);
  Applied refuse_stream(const Request& request, StatusCode code);
  bool hold_elsewhere();
  bool keep_piece(std::span<const std::byte> piece) noexcept;
  bool fetch_held(std::uint64_t size, std::span<const std::byte> last_piece);
  void record_stream_head() noexcept;
  PieceStore::Place place() const noexcept { return {channel_.end->identity().index, channel_.channel}; }
  bool hold_entry(Effort& effort);
  void finish(const Request& request, StatusCode code, Effect effect, std::span<const std::byte> prefix = {},
              std::span<const std::byte> value = {});
  // Its parts. A put that was applied needs finish_change() alone, or confirm() before it: to call finish() took 42 instructions more.
  [[gnu::always_inline]] inline void give_answer(const Request& request, StatusCode code,
                                                 std::span<const std::byte> prefix,
                                                 std::span<const std::byte> value) noexcept;
  void confirm(const Request& request) noexcept;
  [[gnu::always_inline]] inline void complete(const Request& request) noexcept;
  [[gnu::always_inline]] inline void finish_change(const Request& request);

  Table& table_;
  StreamQuota& streams_;
  const PieceStore& pieces_;
  ServerChannel& channel_;
  ShardWriter& shard_;
  BatchCounts counts_;
};

}  // namespace hostmap
