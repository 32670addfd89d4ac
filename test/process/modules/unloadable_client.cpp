// A shared object that contains the client library, as a plug-in does.
#include <string>

#include <hostmap/client.hpp>

// 0: connected to the instance `name`, wrote, read, and closed.
extern "C" int use_instance(const char* name) {
  hostmap::Options options;
  options.name = name;
  hostmap::Result<hostmap::Client> map = hostmap::Client::connect(options);
  if (!map) return 1;
  if (!map->put("key", "value").ok() || !map->increment("number")) return 2;
  const hostmap::Result<std::string> value = map->get("key");
  return value.status().ok() && *value == "value" ? 0 : 3;
}
