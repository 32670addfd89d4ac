// A server, and a map of the C interface that is connected to it.
#pragma once

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <string_view>

#include <hostmap/hostmap.h>

#include "process/harness/server.hpp"

namespace hostmap::test {

class ConnectedInC : public testing::Test {
 protected:
  ConnectedInC() { map_ = connect(options()); }
  ~ConnectedInC() override { hostmap_close(map_); }

  hostmap_options options() const {
    hostmap_options chosen = HOSTMAP_OPTIONS_INIT;
    chosen.name = server_.name().c_str();
    chosen.timeout_ns = std::chrono::nanoseconds(kPatience).count();
    return chosen;
  }
  static hostmap_map* connect(const hostmap_options& chosen) {
    hostmap_map* map = nullptr;
    EXPECT_EQ(hostmap_connect(&chosen, &map), HOSTMAP_OK) << hostmap_message();
    return map;
  }
  int put(std::string_view key, std::string_view value) {
    return hostmap_put(map_, key.data(), key.size(), value.data(), value.size());
  }
  // The value, or the name of the status.
  std::string get(std::string_view key) {
    void* value;
    std::size_t size;
    const int result = hostmap_get_copy(map_, key.data(), key.size(), &value, &size);
    return result == HOSTMAP_OK ? owned(value, size) : hostmap_status_name(result);
  }
  // Takes over what a function has returned.
  static std::string owned(void* value, std::size_t size) {
    if (value == nullptr) return "(null)";
    const auto* text = static_cast<const char*>(value);
    EXPECT_EQ(text[size], '\0');
    std::string copy(text, size);
    hostmap_free(value);
    return copy;
  }

  Server server_{{"10"}};
  hostmap_map* map_ = nullptr;
};

}  // namespace hostmap::test
