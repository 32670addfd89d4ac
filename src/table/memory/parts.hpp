// do_in_parts: work on many items in order, such as a census's, divided among threads, each of which has adjacent items.
//
// Any of its threads may not be created, as a limit or another process may leave none: the caller then does that part, too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace hostmap {

// Calls `work(first, last, result)` for items [first, last) of each part, one part for so many items and at most one for each
// cpu, and waits for all of them. Returns the parts' results in the order of the items.
template <typename Result, typename Work>
std::vector<Result> do_in_parts(std::uint64_t items, std::uint64_t items_worth_a_thread, const Work& work) {
  const std::uint64_t parts =
      std::clamp<std::uint64_t>(items / items_worth_a_thread, 1, std::max(1u, std::thread::hardware_concurrency()));
  std::vector<Result> results(parts);
  const auto do_part = [&](std::uint64_t i) { work(items * i / parts, items * (i + 1) / parts, results[i]); };
  std::vector<std::jthread> others;
  others.reserve(parts - 1);
  std::uint64_t begun = 1;
  try {
    for (; begun < parts; ++begun) others.emplace_back(do_part, begun);
  } catch (const std::system_error&) {
    // No more threads: what has none is done below.
  }
  do_part(0);
  for (std::uint64_t i = begun; i < parts; ++i) do_part(i);
  others.clear();  // waits for them
  return results;
}

}  // namespace hostmap
