// There is nothing to add to a text.
// refused with: fetch_add needs a map whose values are integers or floating-point numbers
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<int, std::string>(client).fetch_add(1, "1");
#else
  return hostmap::Map<int, long>(client).fetch_add(1, 1);
#endif
}
