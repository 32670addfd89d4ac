// true would add 1: whoever writes it has mistaken the second parameter.
// refused with: no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.increment("k", true);
#else
  return map.increment("k", 1);
#endif
}
