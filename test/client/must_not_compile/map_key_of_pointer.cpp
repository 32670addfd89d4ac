// A pointer means nothing in another process.
// refused with: a key of a Map is an integer, an enum, std::string or
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<const char*, int>(client).contains("key");
#else
  return hostmap::Map<std::string, int>(client).contains("key");
#endif
}
