// TouchPages: takes the notes of what clients have read out of their touch pages, so that the keys stay while others are evicted.
//
// For each key that was evicted, some lines of the pages are read, of one connection after the other, and what is noted there is
// touched. So the work is bounded by that of evictions, however many connections there are; and without evictions none is done.
// A page that its client fills with false notes keeps no more keys alive than it has words.
//
// The worker alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "connection/server_end.hpp"
#include "layout/connection.hpp"
#include "table/write/writer.hpp"

namespace hostmap {

class TouchPages {
 public:
  // `lanes`: of the worker.
  TouchPages(std::size_t connections, const std::vector<std::uint32_t>& lanes) {
    ends_.reserve(connections);
    for (const std::uint32_t lane : lanes) places_.push_back({.lane = lane});
  }
  void add(ServerEnd& end) { ends_.push_back(&end); }
  void remove(const ServerEnd& end) noexcept { std::erase(ends_, &end); }

  // After some requests: takes the notes that are due.
  void take_notes(ShardWriter& shard, std::uint32_t lane) noexcept {
    const std::uint64_t evicted = shard.evicted();
    if (evicted == 0) [[likely]]
      return;
    Place& place = *std::ranges::find(places_, lane, &Place::lane);
    const std::uint64_t due = place.due + (evicted - place.evicted) * kLines;
    place.due = std::min<std::uint64_t>(due, ends_.size() * kLinesOfPage);
    place.evicted = evicted;
    for (std::uint64_t lines = std::min(place.due, kMostLines); lines > 0; --lines, --place.due)
      take_line(shard, place);
  }

 private:
  static constexpr std::uint64_t kLines = 4;  // for each key that was evicted
  // At a time: as many as a batch of puts needs that each evict a key. If each word is a note, that takes a tenth of a millisecond.
  static constexpr std::uint64_t kMostLines = 256;
  static constexpr std::size_t kWordsOfLine = kCacheLine / sizeof(Word);
  static constexpr std::size_t kLinesOfPage = sizeof(TouchPage) / kCacheLine;

  // Where a lane continues.
  struct Place {
    std::uint32_t lane;
    std::uint64_t evicted = 0;  // at the last time
    std::uint64_t due = 0;      // lines, since then
    std::size_t end = 0;        // of ends_
    std::size_t line = 0;
  };

  void take_line(ShardWriter& shard, Place& place) noexcept {
    if (place.line == kLinesOfPage) {
      place.line = 0;
      ++place.end;
    }
    if (place.end >= ends_.size()) place.end = 0;
    Word* const words = ends_[place.end]->touch_page(place.lane).words + place.line++ * kWordsOfLine;
    // Some lines ahead: a client's cache has them.
    __builtin_prefetch(words + 4 * kWordsOfLine);
    for (std::size_t i = 0; i < kWordsOfLine; ++i) {
      const std::uint64_t note = words[i].load(std::memory_order_relaxed);  // relaxed: a hint
      if (note == 0) [[likely]]
        continue;
      words[i].store(0, std::memory_order_relaxed);  // relaxed: likewise; a note that comes in between is lost
      shard.touch(note);
    }
  }

  std::vector<ServerEnd*> ends_;
  std::vector<Place> places_;
};

}  // namespace hostmap
