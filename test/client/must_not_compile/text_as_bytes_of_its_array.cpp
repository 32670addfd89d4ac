// Whether the zero at the end of a text belongs to its bytes is not clear.
// refused with: no matching function|could not convert|cannot convert
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.put("k", hostmap::as_bytes_of("text"));
#else
  return map.put("k", "text");
#endif
}
