// WriterState: all state that a table's writers keep in their own memory or in the table's statistics, as named numbers.
//
// A restart rebuilds this state in one of two ways: it counts what the table reaches, or it reads the hand-over summary of the
// last server. Both must give the same. Tests compare the two after random histories, and a debug build compares them at each
// start that used a summary.
//
// Order without meaning (of free lists) is removed: lists are sorted before they are hashed.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hostmap {

class WriterState {
 public:
  void add(std::string name, std::uint64_t value) { fields_.emplace_back(std::move(name), value); }
  // The fields whose values differ, one a line; empty when there are none.
  std::string differences(const WriterState& other) const {
    std::string lines;
    if (fields_.size() != other.fields_.size()) return "different numbers of fields";
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (fields_[i] == other.fields_[i]) continue;
      lines += fields_[i].first + ": " + std::to_string(fields_[i].second) + ", but " + other.fields_[i].first + ": " +
               std::to_string(other.fields_[i].second) + "\n";
    }
    return lines;
  }

 private:
  std::vector<std::pair<std::string, std::uint64_t>> fields_;
};

}  // namespace hostmap
