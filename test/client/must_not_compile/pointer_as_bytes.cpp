// The bytes of a pointer mean nothing in another process.
// refused with: no matching function|could not convert|cannot convert
#include <hostmap/client.hpp>

auto use(hostmap::Client& map, const int* number) {
#ifdef MISUSE
  return map.put("k", hostmap::as_bytes_of(number));
#else
  return map.put("k", hostmap::as_bytes_of(*number));
#endif
}
