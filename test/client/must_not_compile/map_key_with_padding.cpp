// The three bytes after `kind` are undefined, so equal keys could differ.
// refused with: a key of a Map needs exactly one representation
#include <hostmap/map.hpp>

struct Padded {
  char kind;
  int number;
};
struct Full {
  int kind;
  int number;
};

auto use(hostmap::Client& client) {
#ifdef MISUSE
  return hostmap::Map<Padded, int>(client).contains(Padded{1, 2});
#else
  return hostmap::Map<Full, int>(client).contains(Full{1, 2});
#endif
}
