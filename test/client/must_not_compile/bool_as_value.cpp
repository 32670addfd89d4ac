// A bool is a number, too, and must not be converted to a pointer.
// refused with: could not convert|cannot convert|no matching function
#include <hostmap/client.hpp>

hostmap::Status use(hostmap::Client& map) {
#ifdef MISUSE
  return map.put("k", true);
#else
  return map.put("k", "true");
#endif
}
