// A vector of numbers has no defined representation in bytes, either.
// refused with: could not convert|cannot convert|no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.get(std::vector<int>{});
#else
  return map.get("k");
#endif
}
