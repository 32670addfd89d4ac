// A number has no bytes that everybody agrees on: its caller says which, as text or as a span.
// refused with: no matching function|could not convert|cannot convert
#include <hostmap/client.hpp>

hostmap::Status use(hostmap::Client& map) {
#ifdef MISUSE
  return map.put("k", 5);
#else
  return map.put("k", "5");
#endif
}
