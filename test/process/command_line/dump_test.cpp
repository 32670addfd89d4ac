// hostmap dump, load and save: from a map to a file or stream and back, and every way in which that fails.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "dump/dump_fixture.hpp"
#include "process/harness/own_shm.hpp"
#include "process/harness/sealed.hpp"
#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

using std::chrono::milliseconds;
namespace fs = std::filesystem;

Ran hostmap(const Server& server, const std::vector<std::string>& arguments, const ProcessSetup& setup = {}) {
  std::vector<std::string> words{program("hostmap"), "--name", server.name()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run(words, setup);
}

// All of a map: key -> value, and the time to live.
std::map<std::string, std::pair<std::string, milliseconds>> content_of(Client& client) {
  std::map<std::string, std::pair<std::string, milliseconds>> content;
  const Status scanned = client.scan("", [&](std::string_view key, std::string_view value, milliseconds ttl) {
    content.emplace(key, std::pair(std::string(value), ttl));
    return true;
  });
  EXPECT_EQ(scanned, StatusCode::kOk);
  return content;
}

class DumpCommand : public testing::Test {
 protected:
  DumpCommand() { fs::create_directory(folder_); }
  ~DumpCommand() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }
  static std::string bytes_at(const std::string& file_path) {
    std::ifstream file(file_path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string bytes_of(const std::string& name) const { return bytes_at(path(name)); }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  // Keys of every form, with and without an end.
  void fill(Client& client) const {
    for (std::uint64_t i = 0; i < 500; ++i) {
      ASSERT_EQ(client.put(word_key(i), word_key(i * i)), StatusCode::kOk);
      ASSERT_EQ(client.put("key " + std::to_string(i), pattern(i, i)), StatusCode::kOk);
    }
    ASSERT_EQ(client.put("long", pattern(3'000'000, 1)), StatusCode::kOk);
    ASSERT_EQ(client.put(std::string(65'536, 'k'), ""), StatusCode::kOk);
    ASSERT_EQ(client.put("ends", "1", std::chrono::hours(1)), StatusCode::kOk);
    ASSERT_EQ(client.put(word_key(1'000), word_key(1), std::chrono::hours(100)), StatusCode::kOk);
  }

  std::string folder_ = unique_path();
  Server server_{{"10"}};
};

TEST_F(DumpCommand, WhatIsDumpedIsLoadedWithItsEnds) {
  Client client = server_.connect();
  fill(client);
  const Ran dumped = hostmap(server_, {"dump", path("map")});
  EXPECT_EQ(dumped.exit, kSuccess) << dumped.errors;
  EXPECT_EQ(dumped.output, "dumped 1,004 keys, 3.1 MiB\n");
  EXPECT_EQ(dumped.errors, "");
  EXPECT_EQ(files(), std::vector<std::string>{"map"});
  struct stat facts {};
  ASSERT_EQ(::stat(path("map").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U) << "the map is its user's alone";

  Server other({"10", "--workers", "4"});
  Client copy = other.connect();
  ASSERT_EQ(copy.put("key 1", "is replaced", milliseconds(100'000)), StatusCode::kOk);
  ASSERT_EQ(copy.put("other", "stays"), StatusCode::kOk);
  const Ran loaded = hostmap(other, {"load", path("map")});
  EXPECT_EQ(loaded.exit, kSuccess) << loaded.errors;
  EXPECT_EQ(loaded.output, "loaded 1,004 keys, 3.1 MiB\n");
  EXPECT_EQ(loaded.errors, "");
  auto expected = content_of(client);
  expected["other"] = {"stays", kForever};
  auto content = content_of(copy);
  // Both count down, and each conversion is rounded.
  for (auto* map : {&expected, &content}) {
    for (auto& [key, entry] : *map) {
      if (entry.second != kForever) entry.second = std::chrono::round<std::chrono::hours>(entry.second);
    }
  }
  EXPECT_TRUE(content == expected);
  EXPECT_EQ(content["ends"].second, std::chrono::hours(1));
}

TEST_F(DumpCommand, AStreamGoesFromOneMapToAnother) {
  Client client = server_.connect();
  fill(client);
  Server other({"10"});
  const std::string hostmap = program("hostmap");
  const Ran ran = run({"bash", "-c",
                       "set -o pipefail; " + hostmap + " --name " + server_.name() + " dump - | " + hostmap +
                           " --name " + other.name() + " load -"});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  EXPECT_EQ(ran.output, "loaded 1,004 keys, 3.1 MiB\n");
  Client copy = other.connect();
  EXPECT_EQ(content_of(copy).size(), 1'004u);
  EXPECT_EQ(copy.get("long").value_or(""), pattern(3'000'000, 1));
}

TEST_F(DumpCommand, AnEmptyMapAndOneKey) {
  Client client = server_.connect();
  EXPECT_EQ(hostmap(server_, {"dump", path("map")}).output, "dumped 0 keys, 96 B\n");
  EXPECT_EQ(hostmap(server_, {"load", path("map")}).output, "loaded 0 keys, 96 B\n");
  ASSERT_EQ(client.put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(hostmap(server_, {"dump", path("map")}).output, "dumped 1 key, 139 B\n");
}

TEST_F(DumpCommand, ReadOnlyClientsDumpAndDoNotLoad) {
  ASSERT_EQ(server_.connect().put("key", "value"), StatusCode::kOk);
  EXPECT_EQ(hostmap(server_, {"--read-only", "dump", path("map")}).exit, kSuccess);
  const Ran loaded = hostmap(server_, {"--read-only", "load", path("map")});
  expect_refusal(loaded, 2, {"load changes the map, which --read-only does not allow"});
}

// A file of an earlier version.
TEST_F(DumpCommand, TheGoldenFileIsLoaded) {
  const char* source = std::getenv("HOSTMAP_SOURCE_DIR");
  const Ran loaded =
      hostmap(server_, {"load", std::string(source == nullptr ? "." : source) + "/test/dump/golden.dump"});
  EXPECT_EQ(loaded.output, "loaded 3 keys, 179 B\n") << loaded.errors;
  Client client = server_.connect();
  EXPECT_EQ(client.get("language").value_or("none"), "C++");
  EXPECT_EQ(client.get_as<std::uint64_t>(word_key(7)).value_or(0), 1'000u);
  EXPECT_GT(client.ttl("session").value_or(milliseconds(0)), std::chrono::hours(24 * 365 * 10));
}

TEST_F(DumpCommand, WhatHasLapsedIsSkippedAndCounted) {
  const std::string file =
      write("map", dump_of({}, {{"stays", "1"}, {"lapsed", "2", 1'000'000'000'000}, {"never", "3", ~0ULL}}));
  const Ran loaded = hostmap(server_, {"load", file});
  EXPECT_EQ(loaded.output, "loaded 2 keys, 172 B; 1 had lapsed\n") << loaded.errors;
  Client client = server_.connect();
  EXPECT_EQ(client.exists("lapsed"), StatusCode::kNotFound);
  EXPECT_EQ(client.get("never").value_or("none"), "3") << "an end beyond all clocks";
}

TEST_F(DumpCommand, AnEndedDumpLeavesTheFormerFileAndNothingElse) {
  Client client = server_.connect();
  fill(client);
  for (const char* command : {"dump", "save"}) {
    write("map", "former");
    EXPECT_EQ(hostmap(server_, {command, path("map")}).exit, kSuccess);
    EXPECT_GT(bytes_of("map").size(), 3'000'000u);
    EXPECT_EQ(files(), std::vector<std::string>{"map"});
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
      write("map", "former");
      // The signal is pending from the program's first instruction on, so it arrives in the middle of the dump.
      Child dumping = Child::fork([&] {
        sigset_t signals;
        ::sigemptyset(&signals);
        ::sigaddset(&signals, signal);
        ::sigprocmask(SIG_BLOCK, &signals, nullptr);
        ::raise(signal);
        const std::string hostmap = program("hostmap");
        ::execl(hostmap.c_str(), "hostmap", "--name", server_.name().c_str(), command, path("map").c_str(), nullptr);
        return kChildSetupFailed;
      });
      EXPECT_EQ(dumping.wait(), exited(5)) << "the signal stays blocked, otherwise it would end the program";
      EXPECT_EQ(bytes_of("map"), "former");
      EXPECT_EQ(files(), std::vector<std::string>{"map"});
    }
  }
}

TEST_F(DumpCommand, SaveEveryKeepsACompleteFileUntilItIsStopped) {
  Client client = server_.connect();
  fill(client);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    Program saving({program("hostmap"), "--name", server_.name(), "save", path("map"), "--every", "20ms"});
    EXPECT_EQ(saving.hear(), "saved 1,004 keys, 3.1 MiB");
    for (int i = 0; i < 20; ++i) {
      const ReadDump read = read_dump_of(source_of(bytes_of("map")));
      EXPECT_EQ(read.status, StatusCode::kOk) << read.status;
      EXPECT_EQ(read.records.size(), 1'004u);
    }
    EXPECT_EQ(saving.hear(), "saved 1,004 keys, 3.1 MiB");
    saving.send(signal);
    EXPECT_EQ(saving.wait(), kSuccess);
    EXPECT_EQ(saving.errors(), "");
    EXPECT_EQ(files(), std::vector<std::string>{"map"});
  }
}

TEST_F(DumpCommand, DumpAndSaveGiveWayToOthers) {
  Client client = server_.connect();
  fill(client);
  const int own = ::getpriority(PRIO_PROCESS, 0);
  const int lowered = std::min(own + 10, 19);
  const auto has_given_way = [&](const Program& dumping) {
    return eventually([&] { return ::getpriority(PRIO_PROCESS, static_cast<id_t>(dumping.pid())) == lowered; });
  };
  // Its output, which nobody reads, is more than a pipe holds.
  Program dumping({program("hostmap"), "--name", server_.name(), "dump", "-"});
  EXPECT_TRUE(has_given_way(dumping));
  dumping.kill();
  Program saving({program("hostmap"), "--name", server_.name(), "save", path("map"), "--every", "20ms"});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(saving.hear(), "saved 1,004 keys, 3.1 MiB");
  EXPECT_TRUE(has_given_way(saving)) << "once, however many dumps it makes";
  saving.send(SIGTERM);
  EXPECT_EQ(saving.wait(), kSuccess);
}

TEST_F(DumpCommand, SaveEveryOutlastsItsServer) {
  const std::string name = unique_name();
  std::optional<Server> server(std::in_place, std::vector<std::string>{"10"}, ServerSetup{.name = name});
  ASSERT_EQ(server->connect().put("key", "value"), StatusCode::kOk);
  Program saving({program("hostmap"), "--name", name, "save", path("map"), "--every", "20ms"});
  EXPECT_EQ(saving.hear(), "saved 1 key, 139 B");
  server.reset();
  EXPECT_TRUE(eventually([&] { return saving.errors().find("no server") != std::string::npos; }));
  EXPECT_EQ(read_dump_of(source_of(bytes_of("map"))).records.size(), 1u) << "the last complete one stays";
  server.emplace(std::vector<std::string>{"10"}, ServerSetup{.name = name});
  while (saving.hear() != "saved 0 keys, 96 B") continue;
  saving.send(SIGTERM);
  EXPECT_EQ(saving.wait(), kSuccess);
}

TEST_F(DumpCommand, BadWordsAreUsageErrors) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"dump"}, "FILE is required"},
      {{"load"}, "FILE is required"},
      {{"save"}, "FILE is required"},
      {{"dump", ""}, "FILE is empty; give a file, or - for standard output"},
      {{"load", ""}, "FILE is empty; give a file, or - for standard input"},
      {{"save", ""}, "save writes to a file; to write to a stream, use dump -"},
      {{"save", "-"}, "save writes to a file; to write to a stream, use dump -"},
      {{"save", "map", "--every", "often"}, "'often' is not a time between two saves"},
      {{"save", "map", "--every", "0s"}, "'0s' is not a time between two saves"},
      {{"save", "map", "--every", "forever"}, "'forever' is not a time between two saves"},
  };
  for (const auto& [words, message] : cases) expect_refusal(hostmap(server_, words), 2, {message});
}

TEST_F(DumpCommand, FilesThatCannotBeWrittenOrReadAreNamed) {
  fs::create_directory(path("folder"));
  expect_refusal(hostmap(server_, {"dump", path("folder")}), 4,
                 {path("folder"), "is not a regular file; to write to it, give -"});
  expect_refusal(hostmap(server_, {"dump", "/dev/null"}), 4, {"/dev/null", "is not a regular file"});
  expect_refusal(hostmap(server_, {"dump", path("none/map")}), 4, {"cannot create", path("none/map"), "No such file"});
  expect_refusal(hostmap(server_, {"load", path("none")}), 4, {"cannot open", path("none"), "No such file"});
  expect_refusal(hostmap(server_, {"load", path("folder")}), 4, {"cannot read", path("folder"), "Is a directory"});
  EXPECT_EQ(files(), std::vector<std::string>{"folder"});
}

TEST_F(DumpCommand, WithoutAServerNothingIsWritten) {
  const std::string golden = write("map", dump_of(kGoldenHead, kGoldenRecords));
  for (const char* command : {"dump", "save", "load"}) {
    const Ran ran = run({program("hostmap"), "--name", unique_name(), command, golden});
    expect_refusal(ran, 3, {"no server"});
  }
  EXPECT_EQ(bytes_of("map"), dump_of(kGoldenHead, kGoldenRecords));
  EXPECT_EQ(files(), std::vector<std::string>{"map"});
}

TEST_F(DumpCommand, LoadStopsAtTheFirstBadBlockAndCountsWhatWasLoaded) {
  std::vector<Kept> records;
  for (std::uint64_t i = 0; i < 6; ++i) records.push_back({word_key(i), pattern(500'000, i)});
  const std::string good = dump_of({}, records);  // three blocks of two records
  Client client = server_.connect();
  const auto expect_bad = [&](const std::string& bytes, int code, const std::string& message, std::uint64_t loaded) {
    ASSERT_EQ(client.clear(), StatusCode::kOk);
    const Ran ran = hostmap(server_, {"load", write("map", bytes)});
    expect_refusal(ran, code, {message});
    EXPECT_EQ(client.size().value_or(99), loaded) << message;
  };
  std::string bad = good;
  bad[1'200'000] ^= 1;
  expect_bad(bad, 4, "block 2 of the dump is damaged: its checksum is wrong; 2 keys were loaded before", 2);
  expect_bad(good.substr(0, 1'200'000), 4, "the dump is truncated in block 2, or before its end", 2);
  expect_bad(good.substr(0, good.size() - 32), 4, "it has no END1; 6 keys were loaded before", 6);
  expect_bad(good + good, 4, "something follows the end of the dump, after 3 blocks; 6 keys were loaded before", 6);
  expect_bad("", 4, "the dump is truncated in its head: it has only 0 bytes", 0);
  expect_bad("key value", 4, "this is not a dump of hostmap", 0);
  bad = good;
  bad[8] = 2;
  expect_bad(bad, 6, "the dump has format 2, and this program reads format 1", 0);
  bad = good;
  bad[20] ^= 1;
  expect_bad(bad, 4, "the head of the dump is damaged: its checksum is wrong", 0);
}

TEST_F(DumpCommand, LoadIntoAMapWithoutRoomNamesTheKeysThatFit) {
  std::vector<Kept> records;
  for (std::uint64_t i = 0; i < 40; ++i) records.push_back({word_key(i), pattern(1'000'000, i)});
  const std::string file = write("map", dump_of({}, records));
  Server small({"10", "--memory", "16M"});
  const Ran full = hostmap(small, {"load", file});
  expect_refusal(full, 4, {"the server has no memory for this", "keys were loaded before"});
  const std::uint64_t keys = *small.connect().size();
  EXPECT_NE(full.errors.find("; " + std::to_string(keys) + " keys were loaded before"), std::string::npos)
      << full.errors;
  EXPECT_GT(keys, 5u);

  Server short_values({"10", "--max-value", "64K"});
  expect_refusal(hostmap(short_values, {"load", file}), 4, {"0 keys were loaded before"});
}

TEST_F(DumpCommand, AFullDiskLeavesTheFormerFile) {
  in_own_shm("size=600m", [&] {
    Server server({"10"});
    Client client = server.connect();
    fill(client);
    const SmallFolder disk("size=1m");
    std::ofstream(disk.path() + "/map") << "former";
    const Ran full = hostmap(server, {"dump", disk.path() + "/map"});
    expect_refusal(full, 4, {"cannot write", "No space left on device; free space or write elsewhere"});
    std::ifstream file(disk.path() + "/map");
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "former");
    EXPECT_EQ(std::distance(fs::directory_iterator(disk.path()), {}), 1);
    fs::remove(disk.path() + "/map");
    const Ran piped = run({"bash", "-c", program("hostmap") + " --name " + server.name() + " dump - > /dev/full"});
    expect_refusal(piped, 4, {"cannot write to standard output", "No space left on device"});
  });
}

TEST_F(DumpCommand, SaveEveryContinuesWhenAFullDiskHasRoomAgain) {
  in_own_shm("size=600m", [&] {
    Server server({"10"});
    Client client = server.connect();
    ASSERT_EQ(client.put("key", std::string(200'000, 'v')), StatusCode::kOk);
    const SmallFolder disk("size=1m");
    const std::string map = disk.path() + "/map";
    Program saving({program("hostmap"), "--name", server.name(), "save", map, "--every", "20ms"});
    ASSERT_TRUE(saving.hear().starts_with("saved 1 key"));
    std::ofstream(disk.path() + "/other") << std::string(1'000'000, 'x');  // as much of it as there is room for
    EXPECT_TRUE(eventually([&] { return saving.errors().find("No space left on device") != std::string::npos; }));
    EXPECT_EQ(read_dump_of(source_of(bytes_at(map))).records.size(), 1u) << "the last complete one stays";
    fs::remove(disk.path() + "/other");
    ASSERT_EQ(client.put("more", "value"), StatusCode::kOk);
    while (!saving.hear().starts_with("saved 2 keys")) continue;
    saving.send(SIGTERM);
    EXPECT_EQ(saving.wait(), kSuccess);
    EXPECT_EQ(read_dump_of(source_of(bytes_at(map))).records.size(), 2u);
  });
}

TEST_F(DumpCommand, AFolderOfAnotherUserIsRefused) {
  if (!can_change_users()) GTEST_SKIP() << "this test needs root";
  ServerSetup setup;
  setup.process.user = kSomeUser;
  Server server({"10"}, setup);
  const Ran dumped = hostmap(server, {"dump", path("map")}, setup.process);
  expect_refusal(dumped, 4, {"cannot create " + path("map"), "Permission denied"});
  write("map", dump_of(kGoldenHead, kGoldenRecords));
  fs::permissions(path("map"), fs::perms::owner_read);
  expect_refusal(hostmap(server, {"load", path("map")}, setup.process), 4,
                 {"cannot open " + path("map"), "Permission denied"});
  EXPECT_EQ(files(), std::vector<std::string>{"map"});
}

// What a terminal shows while `words` run.
std::string on_a_terminal(const Server& server, const std::string& words, const std::string& kind) {
  const Ran ran = run({"script", "-qec", program("hostmap") + " --name " + server.name() + " " + words, "/dev/null"},
                      {.environment = {"TERM=" + kind}});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  return ran.output;
}

TEST_F(DumpCommand, ATerminalShowsProgressAndNothingElseDoes) {
  Client client = server_.connect();
  fill(client);
  const std::string shown = on_a_terminal(server_, "dump " + path("map"), "xterm");
  EXPECT_TRUE(shown.starts_with("\rdumping 25 %  256 keys  ")) << shown;
  EXPECT_TRUE(shown.ends_with(" \rdumped 1,004 keys, 3.1 MiB\r\n")) << "the line of progress is removed: " << shown;
  EXPECT_EQ(shown.find('\x1b'), std::string::npos) << "neither colours nor commands for the terminal";
  for (std::size_t at = 0, end; at < shown.size(); at = end + 1) {
    end = std::min(shown.find('\r', at), shown.size());
    EXPECT_LT(end - at, 80u) << shown;
  }
  EXPECT_TRUE(on_a_terminal(server_, "load " + path("map"), "xterm").starts_with("\rloading "));
  EXPECT_EQ(on_a_terminal(server_, "dump " + path("map"), "dumb"), "dumped 1,004 keys, 3.1 MiB\r\n");
  const Ran dump = run({"script", "-qec", program("hostmap") + " --name " + server_.name() + " dump -", "/dev/null"});
  EXPECT_EQ(dump.exit, exited(2));
  EXPECT_NE(dump.output.find(
                "a dump is not text, and standard output is a terminal; redirect standard output, or give a file"),
            std::string::npos);
  const Ran load = run({"script", "-qec", program("hostmap") + " --name " + server_.name() + " load -", "/dev/null"});
  EXPECT_EQ(load.exit, exited(2));
  EXPECT_NE(load.output.find("standard input is a terminal; redirect it from a dump, or give a file"),
            std::string::npos);
}

}  // namespace
}  // namespace hostmap::test
