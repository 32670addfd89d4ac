// A Client is one connection: a copy would be two owners of its rings.
// refused with: use of deleted function|cannot be referenced|implicitly deleted
#include <hostmap/client.hpp>

hostmap::Client use(hostmap::Client& map) {
#ifdef MISUSE
  return map;
#else
  return std::move(map);
#endif
}
