// A text is not a number.
// refused with: try_emplace constructs the value
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<int, int>(client).try_emplace(1, "one");
#else
  return hostmap::Map<int, int>(client).try_emplace(1, 1);
#endif
}
