// for_each passes key and value as two.
// refused with: for_each calls a function with a key and its value
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<int, int>(client).for_each([](const std::pair<const int, int>&) {});
#else
  return hostmap::Map<int, int>(client).for_each([](int, int) {});
#endif
}
