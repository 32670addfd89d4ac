// The conversion of a Result to bool is explicit: the value "false" of a key must not become true.
// refused with: cannot convert .*hostmap::Result<.* to .bool.
#include <hostmap/client.hpp>

bool use(hostmap::Client& map) {
#ifdef MISUSE
  bool found = map.get("k");
#else
  bool found = static_cast<bool>(map.get("k"));
#endif
  return found;
}
