// visit is given the value alone, not a pair of key and value.
// refused with: visit calls a function with the value
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<int, int>(client).visit(1, [](const std::pair<const int, int>&) {});
#else
  return hostmap::Map<int, int>(client).visit(1, [](const int&) {});
#endif
}
