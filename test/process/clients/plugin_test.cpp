// The client library inside a shared object that a program loads and unloads.
#include <gtest/gtest.h>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

TEST(Plugin, SharedObjectWithTheLibraryIsUnloadedByDlclose) {
  Server server;
  const Ran ran = run({program("plugin_host"), server.name(), "3"});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  EXPECT_TRUE(server.connections_come_to(0));
  EXPECT_EQ(server.connect().get("number").value_or("none"), "3");
}

}  // namespace
}  // namespace hostmap::test
