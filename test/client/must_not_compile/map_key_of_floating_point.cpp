// 0.0 and -0.0 are equal and have different bytes.
// refused with: a key of a Map needs exactly one representation
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<double, int>(client).contains(0.5);
#else
  return hostmap::Map<int, double>(client).contains(1);
#endif
}
