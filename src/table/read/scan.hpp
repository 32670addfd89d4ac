// TableScan: a walk over all keys of a table while others write to it.
//
// The keys of a base bucket are ordered by their level bits in reverse. Linear hashing splits a bucket by its next level
// bit, so for any number of buckets, each holds one interval of this order; splits divide intervals and never move a key from
// one side of the walk's position to the other. So the walk is a position in this order, and no key is returned twice.
//
//   level bits      00   10   01   11         reversed:  00 < 01 < 10 < 11
//   before a split  [  bucket 0 ][  bucket 1 ]
//   after it        [ 0  ][ 2   ][  bucket 1 ]
//
// A step reads the finest interval at the position, in both forms at once where keys may move between them, and validates
// that nothing of it changed between its first and its last load: its result is the table's content at one moment.
// First come the 8-byte keys of every shard, then all others.
//
// One thread; stores nothing shared; allocates.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "layout/region.hpp"
#include "table/read/reader.hpp"

namespace hostmap {

class TableScan {
 public:
  // The reader must outlive this. Keys that do not begin with `prefix` are skipped.
  TableScan(const TableReader& reader, std::span<const std::byte> prefix) : reader_(reader), prefix_(prefix) {}

  struct Item {
    std::string key;
    bool is_pair = false;     // otherwise get the value by key
    std::uint64_t value = 0;  // of a pair
  };
  enum class Step : std::uint8_t {
    kItems,      // items() are the next keys: none, or some
    kDone,       // there are no more
    kContended,  // changed while it was read: retry
    kClosed,     // the table is given up
  };
  // Throws bad_alloc; then, as after kContended, the walk stays at its position.
  Step next();
  const std::vector<Item>& items() const noexcept { return items_; }

 private:
  static constexpr unsigned kOrderBits = 48;  // level bits

  struct Interval {
    std::uint64_t bucket;
    std::uint64_t end;  // the first position after it
  };
  Interval interval_at(std::uint64_t state) const noexcept;
  bool within(std::uint64_t hash, std::uint64_t end) const noexcept;
  bool wanted(const std::string& key) const noexcept;
  bool look_at_pairs(std::uint64_t bucket, std::uint64_t end, std::uint64_t fill);
  bool look_at_entries(std::uint64_t bucket, std::uint64_t end, std::uint64_t fill);
  void leave_out_halves_of_moves();
  bool unchanged() const noexcept;
  void go_on(std::uint64_t end) noexcept;

  const TableReader& reader_;
  std::span<const std::byte> prefix_;
  std::vector<Item> items_;
  // The position of the walk.
  bool words_ = true;  // at 8-byte keys
  std::uint32_t shard_ = 0;
  std::uint64_t low_ = 0;       // base bucket
  std::uint64_t position_ = 0;  // in the order of level bits
  // The headers that this step has read.
  struct Seen {
    const Word* header;
    std::uint64_t value;
  };
  std::vector<Seen> seen_;
};

}  // namespace hostmap
