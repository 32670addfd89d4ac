// What became of a write is to be looked at, or put aside in so many words: Status is [[nodiscard]].
// refused with: ignoring returned value .*unused-result
#include <hostmap/client.hpp>

void use(hostmap::Client& map) {
#ifdef MISUSE
  map.put("k", "v");
#else
  static_cast<void>(map.put("k", "v"));
#endif
}
