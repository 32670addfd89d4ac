// A view refers to memory of this process: a key is a std::string, which is passed as a view.
// refused with: a key of a Map is an integer, an enum, std::string or
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<std::string_view, int>(client).contains("key");
#else
  return hostmap::Map<std::string, int>(client).contains("key");
#endif
}
