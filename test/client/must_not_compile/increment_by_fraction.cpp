// 1.5 would silently be truncated to 1.
// refused with: no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.increment("k", 1.5);
#else
  return map.increment("k", 1);
#endif
}
