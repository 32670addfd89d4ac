// Bytes other than 0 and 1 are not a bool, and a Result of one would be a trap.
// refused with: no matching function|could not convert|cannot convert
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.get_as<bool>("k");
#else
  return map.get_as<unsigned char>("k");
#endif
}
