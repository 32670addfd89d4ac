// One text is not a list of keys: its characters are not the keys that the caller means.
// refused with: could not convert|cannot convert|no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map, std::span<const std::string_view> keys) {
#ifdef MISUSE
  static_cast<void>(keys);
  return map.multi_get("k");
#else
  return map.multi_get(keys);
#endif
}
