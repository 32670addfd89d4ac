// 1.5 would be cut to 1 in silence.
// refused with: no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.increment("k", 1.5);
#else
  return map.increment("k", 1);
#endif
}
