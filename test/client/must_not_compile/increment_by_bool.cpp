// true would add 1: the caller has mistaken the meaning of the second parameter.
// refused with: no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.increment("k", true);
#else
  return map.increment("k", 1);
#endif
}
