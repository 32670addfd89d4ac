// A Result of a bool would be ambiguous, and bytes other than 0 and 1 are not a bool.
// refused with: a value of a Map is an integer, an enum, a floating-point number
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<int, bool>(client).find(1);
#else
  return hostmap::Map<int, unsigned char>(client).find(1);
#endif
}
