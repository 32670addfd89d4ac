// The two forms of entries that questions measure: pairs of two words, and 16 bytes of key with 100 of value.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "harness/instance.hpp"
#include "harness/workload.hpp"

namespace hostmap::bench {

struct Pairs {
  using Key = std::uint64_t;
  using Value = std::uint64_t;
  static constexpr std::string_view kName = "pairs";
  static constexpr std::string_view kTitle = "8 + 8";
  static Key key(std::uint64_t index) { return key_of(index); }
  static Value value(std::uint64_t index) { return value_of(index); }
  static std::uint64_t sum(Value value) { return value; }
  static void load_hostmap(const Instance& instance, std::uint64_t entries) { bench::load_hostmap(instance, entries); }
};

struct Entries {
  using Key = EntryKey;
  using Value = EntryValue;
  static constexpr std::string_view kName = "entries";
  static constexpr std::string_view kTitle = "16 + 100";
  static Key key(std::uint64_t index) { return entry_key_of(index); }
  static Value value(std::uint64_t index) { return entry_value_of(index); }
  static std::uint64_t sum(const Value& value) { return sum_of(value); }
  static void load_hostmap(const Instance& instance, std::uint64_t entries) { load_hostmap_entries(instance, entries); }
};

/// act.operator()<Form>() for the form of that name.
template <typename Act>
int with_form(std::string_view form, const Act& act) {
  if (form == Pairs::kName) return act.template operator()<Pairs>();
  if (form == Entries::kName) return act.template operator()<Entries>();
  throw std::runtime_error("no such form: " + std::string(form));
}

}  // namespace hostmap::bench
