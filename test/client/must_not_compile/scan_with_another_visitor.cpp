// A visitor takes the key and the value, and says whether to go on.
// refused with: no matching function
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.scan("", [](int) {});
#else
  return map.scan("", [](std::string_view, std::string_view) { return true; });
#endif
}
