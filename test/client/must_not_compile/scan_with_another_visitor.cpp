// A visitor takes the key and the value, and returns whether to continue.
// refused with: no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.scan("", [](int) {});
#else
  return map.scan("", [](std::string_view, std::string_view) { return true; });
#endif
}
