// Server and clients in containers that share a volume: mount and pid namespaces of their own, and other paths.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "process/harness/program.hpp"
#include "process/harness/server.hpp"

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
      // The container's first process is the shell that has become the server; it gets the signal when unshare ends.
      server_->kill();
    }
    std::filesystem::remove_all(volume_);
  }
  // In the container, the volume is mounted at `place`.
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

// Ends of keys are moments of a clock that has an offset in each time namespace.
class TimeNamespace : public testing::Test {
 protected:
  void SetUp() override {
    if (run({"true"}, elsewhere_).exit != kSuccess) GTEST_SKIP() << "time namespaces are not allowed";
  }
  ProcessSetup elsewhere_{.wrapper = {"unshare", "--time", "--monotonic", "1000", "--fork", "--kill-child"}};
};

TEST_F(TimeNamespace, AClientOfAnotherOneIsRefused) {
  Server server({"10"});
  ASSERT_EQ(server.connect().put("key", "value", std::chrono::hours(1)), StatusCode::kOk);
  for (const char* option : {"--wait", "--read-only"}) {
    expect_refusal(
        run({program("hostmap"), "--name", server.name(), "--timeout", "1", option, "get", "key"}, elsewhere_), 6,
        {server.name(), "time namespace"});
  }
  EXPECT_EQ(*server.connect().get("key"), "value");
}

TEST_F(TimeNamespace, AServerOfAnotherOneDoesNotContinueTheMap) {
  Server server({"10"});
  Client client = server.connect();
  ASSERT_EQ(client.put("key", "value", std::chrono::hours(1)), StatusCode::kOk);
  expect_refusal(run({program("hostmap-server"), "--name", server.name(), "--takeover"}, elsewhere_), 6,
                 {"time namespace"});
  EXPECT_EQ(*client.get("key"), "value") << "the server that runs was not asked to hand over";
  EXPECT_EQ(server.errors(), "");
  server.kill();
  expect_refusal(run({program("hostmap-server"), "--name", server.name()}, elsewhere_), 6, {"time namespace"});
  Server next({}, {.name = server.name()});
  EXPECT_EQ(*client.get("key"), "value") << "the map was left as it was";
}

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

TEST_F(Containers, AReadOnlyMountCanBeReadAndRefusesWriters) {
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

// A memory cgroup of this test's own, of either version of cgroups.
class MemoryCgroup : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* root : {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"}) {
      const std::string folder = std::string(root) + "/" + name_;
      std::error_code error;
      if (!std::filesystem::create_directory(folder, error)) continue;
      if (std::filesystem::exists(folder + "/memory.limit_in_bytes")) limit_ = folder + "/memory.limit_in_bytes";
      if (std::filesystem::exists(folder + "/memory.max")) limit_ = folder + "/memory.max";
      if (!limit_.empty()) {
        folder_ = folder;
        return;
      }
      std::filesystem::remove(folder, error);
    }
    GTEST_SKIP() << "no memory cgroup may be made here";
  }
  void TearDown() override {
    // The cgroup is empty once the kernel has removed the processes that ended in it.
    if (folder_.empty()) return;
    EXPECT_TRUE(eventually([&] { return ::rmdir(folder_.c_str()) == 0; }));
  }
  void limit(const std::string& bytes) const { write(limit_, bytes); }
  void take_in(pid_t process) const { write(folder_ + "/cgroup.procs", std::to_string(process)); }

 private:
  static void write(const std::string& file, const std::string& text) {
    std::ofstream out(file);
    out << text << std::flush;
    ASSERT_TRUE(out.good()) << file;
  }

  std::string name_ = unique_name();
  std::string folder_;
  std::string limit_;
};

bool has_been_killed(pid_t child) {
  siginfo_t how{};
  return ::waitid(P_PID, static_cast<id_t>(child), &how, WEXITED | WNOHANG | WNOWAIT) == 0 && how.si_pid == child &&
         how.si_code == CLD_KILLED && how.si_status == SIGKILL;
}

// The table's pages count for the server's cgroup. If they exceed its limit, the kernel kills the server with SIGKILL; the
// next server, with a higher limit, takes over the acknowledged changes and the clients.
TEST_F(MemoryCgroup, AServerThatOutgrowsItIsKilledAndTheNextOneContinues) {
  const std::vector<std::string> arguments{"10", "--memory", "256M"};
  Server server(arguments);
  limit("32M");
  take_in(server.pid());
  Client client = server.connect(std::chrono::seconds(2));
  const std::string value(1000, 'v');
  std::uint64_t count = 0;
  // On a busy host a put can also time out before the server is killed: it is repeated.
  while (!has_been_killed(server.pid()) && count < 32'000) {
    if (client.put("key " + std::to_string(count), value).ok()) ++count;
  }
  ASSERT_GT(count, 1000u);
  ASSERT_LT(count, 32'000u) << "more than the cgroup may hold";
  ASSERT_TRUE(eventually([&] { return has_been_killed(server.pid()); }));
  server.kill();  // it is dead: this only collects its exit status

  limit("512M");
  Server next(arguments, {.name = server.name()});
  take_in(next.pid());
  for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(*client.get("key " + std::to_string(i)), value) << i;
  EXPECT_TRUE(eventually([&] { return client.put("after", "it").ok(); }));
}

}  // namespace
}  // namespace hostmap::test
