// The outcome of a write must be checked or explicitly ignored: Status is [[nodiscard]].
// refused with: ignoring returned value .*unused-result
#include <hostmap/client.hpp>

void use(hostmap::Client& map) {
#ifdef MISUSE
  map.put("k", "v");
#else
  static_cast<void>(map.put("k", "v"));
#endif
}
