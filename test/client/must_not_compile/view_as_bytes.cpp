// A view is an address and a size: its own bytes are not the text that it refers to.
// refused with: no matching function|could not convert|cannot convert
#include <hostmap/client.hpp>

auto use(hostmap::Client& map, std::string_view text) {
#ifdef MISUSE
  return map.put("k", hostmap::as_bytes_of(text));
#else
  return map.put("k", text);
#endif
}
