// Not changed through a reference as in boost::concurrent_flat_map: the new value is returned.
// refused with: update calls a function with the present value
#include <hostmap/map.hpp>

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<int, int>(client).update(1, [](int& value) { ++value; });
#else
  return hostmap::Map<int, int>(client).update(1, [](std::optional<int> value) { return value.value_or(0) + 1; });
#endif
}
