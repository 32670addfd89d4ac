// A std::string does not consist of its own bytes alone.
// refused with: no matching function|could not convert|cannot convert
#include <hostmap/client.hpp>

auto use(hostmap::Client& map) {
#ifdef MISUSE
  return map.get_as<std::string>("k");
#else
  return map.get("k");
#endif
}
