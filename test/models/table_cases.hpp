// The cases of a model of the table: each defines in which memory, and how deep, it is explored.
#pragma once

#include <string>
#include <utility>

#include "cases.hpp"
#include "interleavings.hpp"
#include "weak_memory.hpp"

namespace hostmap::models {

enum class Memory { kProgramOrder, kCppOrder };

// Model is made from its Rules, which define how it differs from the protocol.
template <typename Model, typename Rules>
struct TableCases {
  static Case holds(std::string name, Memory memory, const Bounds& bounds, const Rules& rules) {
    return make(true, std::move(name), memory, bounds, rules);
  }

  static Case broken(std::string name, Memory memory, const Bounds& bounds, const Rules& rules) {
    return make(false, std::move(name), memory, bounds, rules);
  }

 private:
  static Case make(bool must_hold, std::string name, Memory memory, const Bounds& bounds, const Rules& rules) {
    return {must_hold, std::move(name), [=](Effort effort) {
              const Model model(rules);
              if (memory == Memory::kCppOrder) return WeakMemory(model, bounds, effort).explore();
              return Interleavings(model, bounds, effort).explore();
            }};
  }
};

}  // namespace hostmap::models
