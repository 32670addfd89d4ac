// A Status is not a bool: `if (status)` would read as "it went well" to one and "there is an error" to another.
// refused with: could not convert .*hostmap::Status.* to .bool.
#include <hostmap/client.hpp>

int use(hostmap::Client& map) {
#ifdef MISUSE
  if (map.put("k", "v")) return 1;
#else
  if (map.put("k", "v").ok()) return 1;
#endif
  return 0;
}
