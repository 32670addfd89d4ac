// A null pointer is not text.
// refused with: use of deleted function .*nullptr_t
#include <hostmap/client.hpp>

hostmap::Status use(hostmap::Client& map) {
#ifdef MISUSE
  return map.put("k", nullptr);
#else
  return map.put("k", "");
#endif
}
