// A vector does not consist of its own bytes alone.
// refused with: a value of a Map is an integer, an enum, a floating-point number
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<int, std::vector<int>>(client).find(1);
#else
  return hostmap::Map<int, std::array<int, 4>>(client).find(1);
#endif
}
