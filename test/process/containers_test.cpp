// Server and clients in containers that share a volume: mount and pid namespaces of their own, and other paths.
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "process/support/program.hpp"
#include "process/support/server.hpp"

namespace hostmap::test {
namespace {

class Containers : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(volume_);
    if (run({"true"}, in_container("/mnt")).exit != kSuccess) GTEST_SKIP() << "namespaces and mounts are not allowed";
    std::vector<std::string> command{program("hostmap-server"), "--name", name_, "--dir", "/mnt", "10"};
    server_.emplace(command, in_container("/mnt"));
    const auto line = server_->next_line(kPatience);
    ASSERT_TRUE(line && line->starts_with("ready ")) << server_->errors();
  }
  void TearDown() override {
    if (server_) {
      // The container's first process is the shell that has become the server: it gets the signal of unshare's end.
      server_->kill();
    }
    std::filesystem::remove_all(volume_);
  }
  // The volume is at `place` there.
  ProcessSetup in_container(const std::string& place, const std::string& options = "bind") const {
    const std::string mounts =
        "mount --bind " + volume_ + " " + place + " && mount -o remount," + options + " " + place + " && exec \"$@\"";
    return {.wrapper = {"unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounts, "sh"}};
  }
  std::vector<std::string> hostmap(std::vector<std::string> words, const std::string& dir = "/opt") const {
    words.insert(words.begin(), {program("hostmap"), "--name", name_, "--dir", dir});
    return words;
  }

  std::string name_ = unique_name();
  std::string volume_ = "/dev/shm/" + name_ + "-volume";
  std::optional<Program> server_;
};

TEST_F(Containers, AVolumeOfSharedMemoryIsEnough) {
  const ProcessSetup there = in_container("/opt");
  EXPECT_EQ(run(hostmap({"put", "key", "value"}), there).exit, kSuccess);
  EXPECT_EQ(run(hostmap({"get", "key"}), there).output, "value");
  EXPECT_NE(run(hostmap({"ls"}), there).output.find("serving"), std::string::npos);
  const Ran load = run({program("hostmap-client"), "--name", name_, "--dir", "/opt", "--seconds", "0.1", "1"}, there);
  EXPECT_EQ(load.exit, kSuccess) << load.errors;
  // From the host, where the volume is a folder.
  EXPECT_EQ(run(hostmap({"get", "key"}, volume_)).output, "value");
}

TEST_F(Containers, AClientKilledInItsContainerIsNoticedWithoutASight) {
  Program client({program("hostmap-client"), "--name", name_, "--dir", "/opt", "--seconds", "60", "1"},
                 in_container("/opt"));
  const InstanceName instance = *InstanceName::parse(name_, volume_);
  ASSERT_TRUE(eventually([&] { return instance.connection_files().size() == 1; }));
  client.kill();
  EXPECT_TRUE(eventually([&] { return instance.connection_files().empty(); }));
}

TEST_F(Containers, AReadOnlyMountIsReadAndSaysSoToWriters) {
  EXPECT_EQ(run(hostmap({"put", "key", "value"}, volume_)).exit, kSuccess);
  const ProcessSetup reader = in_container("/opt", "bind,ro");
  EXPECT_EQ(run(hostmap({"--read-only", "get", "key"}), reader).output, "value");
  expect_refusal(run(hostmap({"put", "key", "other"}), reader), 4, {"read-only", "--read-only"});
}

TEST_F(Containers, AServerInAnotherContainerIsNeitherStoppedNorReplaced) {
  const ProcessSetup there = in_container("/opt");
  expect_refusal(run(hostmap({"stop"}), there), 4, {"pid namespace"});
  expect_refusal(run({program("hostmap-server"), "--name", name_, "--dir", "/opt", "--takeover"}, there), 1,
                 {"pid namespace"});
  EXPECT_EQ(run(hostmap({"ping"}), there).exit, kSuccess);
}

}  // namespace
}  // namespace hostmap::test
