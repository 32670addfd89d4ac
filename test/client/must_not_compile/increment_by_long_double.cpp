// It would silently be rounded to a double.
// refused with: no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.increment("k", 1.5L);
#else
  return map.increment("k", 1.5);
#endif
}
