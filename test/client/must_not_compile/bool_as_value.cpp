// A bool is a number, too; and no pointer that one could take it for.
// refused with: could not convert|cannot convert
#include <hostmap/client.hpp>

hostmap::Status use(hostmap::Client& map) {
#ifdef MISUSE
  return map.put("k", true);
#else
  return map.put("k", "true");
#endif
}
