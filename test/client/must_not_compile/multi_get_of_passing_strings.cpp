// A range that creates each std::string when it is visited: they are destroyed before multi_get reads them.
// refused with: no matching function|could not convert|cannot convert
#include <hostmap/client.hpp>

auto use(hostmap::Client& map, [[maybe_unused]] std::vector<int>& numbers,
         [[maybe_unused]] std::vector<std::string>& names) {
#ifdef MISUSE
  return map.multi_get(numbers | std::views::transform([](int number) { return std::to_string(number); }));
#else
  return map.multi_get(std::span(names));
#endif
}
