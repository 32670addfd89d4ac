// TableScan: a walk over all keys of a table while others write to it.
//
// A key belongs to the segment of its fraction, and there to the bucket of other bits of its hash. Splits and merges change how
// long the intervals of fractions are that segments have, and nothing else. So the position of the walk is the number of a
// bucket, and a fraction: it visits that bucket of every segment, in the order of fractions, then the next one of each; and
// no key is returned twice.
//
//   fractions       0                1/2              1
//   before a split  [ segment A     ][ segment B      ]     bucket 0 of A, of B; bucket 1 of A, of B; ...
//   after it        [ A     ][ C    ][ segment B      ]     bucket 1 of A, of C, of B; ...
//
// A step reads one bucket of one segment, in both forms at once where keys may move between them, and validates that nothing
// of it changed between its first and its last load: its result is the table's content at one moment.
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
  // The position of the walk as a number: where a key lies depends on its hash alone, so another walk, in another process or
  // after a restart of the server, continues from there. It is 0 at the begin and at the end.
  //
  //   cursor   {0:11 | entries:1 | shard:5 | bucket:9 | fraction:38}
  //
  // Of the fraction, the bits that can begin a segment: a shard has fewer than 2^34 segments.
  std::uint64_t cursor() const noexcept;
  // Goes to the position of a cursor. False: no walk over a table with so many shards has such a position.
  bool seek(std::uint64_t cursor) noexcept;
  // Throws bad_alloc; then, as after kContended, the walk stays at its position.
  Step next();
  const std::vector<Item>& items() const noexcept { return items_; }

 private:
  // Fractions from the position's up to `last` lie in the segment.
  struct Interval {
    std::uint64_t segment = 0;  // offset; 0: the directory leads out of what may be read
    std::uint64_t last = 0;
  };
  template <typename Bucket>
  Interval interval_at(std::uint64_t state) const noexcept;
  bool within(std::uint64_t hash, std::uint64_t last) const noexcept;
  bool has_prefix(const std::string& key) const noexcept;
  bool read_pairs(std::uint64_t segment, std::uint64_t last, std::uint64_t change);
  bool has_word(std::uint64_t word) const noexcept;
  bool read_entries(std::uint64_t segment, std::uint64_t number, std::uint64_t last, std::uint64_t change);
  void drop_halves_of_moves();
  bool unchanged() const noexcept;
  void advance(std::uint64_t last) noexcept;

  const TableReader& reader_;
  std::span<const std::byte> prefix_;
  std::vector<Item> items_;
  // The position of the walk.
  bool words_ = true;  // at 8-byte keys
  std::uint32_t shard_ = 0;
  std::uint64_t bucket_ = 0;    // of every segment
  std::uint64_t fraction_ = 0;  // not visited: those from here on
  // The headers that this step has read.
  std::vector<SeenHeader> seen_;
};

}  // namespace hostmap
