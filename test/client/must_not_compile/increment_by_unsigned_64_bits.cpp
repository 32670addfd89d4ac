// The upper half of its values would silently become negative.
// refused with: no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.increment("k", 5ull);
#else
  return map.increment("k", 5ll);
#endif
}
