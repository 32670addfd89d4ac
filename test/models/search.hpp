// Breadth-first search through every state that a model can reach.
//
// A model's state is a plain struct without padding; two states are the same when their bytes are.
// Because the search goes breadth first, the way that it gives for a failure is a shortest one.
// Nothing is approximated: whole states are kept and compared, no hash replaces one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace hostmap::models {

template <typename State>
class Search {
  static_assert(std::is_trivially_copyable_v<State>);
  static_assert(std::has_unique_object_representations_v<State>,
                "states are compared byte by byte, so they must have no padding");

 public:
  // A model that needs more than this does not fit beside others on a small machine; the search
  // ends, and says so.
  static constexpr std::size_t kMostStates = 24'000'000;

  // Calls expand(state) for each state that can be reached; expand calls add() for each successor,
  // and fail() for one that must not be.
  template <typename Expand>
  void run(const State& start, Expand expand) {
    add(start);
    for (current_ = 0; current_ < size_ && !failed() && !exhausted(); ++current_) {
      const State state = at(current_);
      expand(state);
    }
  }

  void add(const State& state) {
    if (2 * (size_ + 1) > table_.size()) grow_table();
    std::size_t slot = hash(state) & (table_.size() - 1);
    for (; table_[slot] != 0; slot = (slot + 1) & (table_.size() - 1)) {
      if (std::memcmp(&at(table_[slot] - 1), &state, sizeof state) == 0) return;
    }
    append(state);
    table_[slot] = static_cast<std::uint32_t>(size_);
  }

  // The first failure counts; the search ends with the state in which it was seen.
  void fail(const State& state, std::string why) {
    if (failed()) return;
    failure_ = std::move(why);
    append(state);
    failed_at_ = size_ - 1;
  }

  bool failed() const { return !failure_.empty(); }
  bool exhausted() const { return size_ >= kMostStates; }
  const std::string& failure() const { return failure_; }
  std::size_t states() const { return size_; }

  // From the start to the failure.
  std::vector<State> way() const {
    std::vector<State> states;
    for (std::size_t index = failed_at_;; index = parents_[index]) {
      states.push_back(at(index));
      if (index == 0) break;
    }
    std::reverse(states.begin(), states.end());
    return states;
  }

 private:
  // Blocks, so that no state is copied when there are more of them.
  static constexpr std::size_t kBlock = std::size_t{1} << 14;

  const State& at(std::size_t index) const { return blocks_[index / kBlock][index % kBlock]; }

  void append(const State& state) {
    if (size_ % kBlock == 0) {
      blocks_.push_back(std::make_unique_for_overwrite<State[]>(kBlock));
    }
    blocks_[size_ / kBlock][size_ % kBlock] = state;
    parents_.push_back(static_cast<std::uint32_t>(current_));
    ++size_;
  }

  static std::uint64_t hash(const State& state) {
    const char* bytes = reinterpret_cast<const char*>(&state);
    std::uint64_t hash = sizeof state;
    for (std::size_t done = 0; done < sizeof state; done += sizeof(std::uint64_t)) {
      std::uint64_t piece = 0;
      std::memcpy(&piece, bytes + done, std::min(sizeof piece, sizeof state - done));
      hash = (hash ^ piece) * 0x9E3779B97F4A7C15U;
      hash ^= hash >> 32;
    }
    return hash;
  }

  void grow_table() {
    table_.assign(std::max<std::size_t>(2 * table_.size(), std::size_t{1} << 12), 0);
    for (std::size_t index = 0; index < size_; ++index) {
      std::size_t slot = hash(at(index)) & (table_.size() - 1);
      while (table_[slot] != 0) slot = (slot + 1) & (table_.size() - 1);
      table_[slot] = static_cast<std::uint32_t>(index + 1);
    }
  }

  std::vector<std::unique_ptr<State[]>> blocks_;
  std::vector<std::uint32_t> parents_;
  std::vector<std::uint32_t> table_;  // open addressing: index + 1, or 0 where nothing is
  std::size_t size_ = 0;
  std::size_t current_ = 0;
  std::size_t failed_at_ = 0;
  std::string failure_;
};

}  // namespace hostmap::models
