// A number has no defined representation in bytes: the caller chooses one, as text or as a span.
// refused with: no matching function|could not convert|cannot convert
#include <hostmap/client.hpp>

hostmap::Status use(hostmap::Client& map) {
#ifdef MISUSE
  return map.put("k", 5);
#else
  return map.put("k", "5");
#endif
}
