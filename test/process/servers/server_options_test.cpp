// Invalid options: each one ends with exit code 2 and one line that names the option.
#include <filesystem>
#include <gtest/gtest.h>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

struct Row {
  std::vector<std::string> arguments;
  std::vector<std::string> words;  // of the line on stderr
};

void expect_all_refused(const std::vector<Row>& rows) {
  const std::string name = unique_name();
  for (const Row& row : rows) {
    std::string line;
    for (const std::string& word : row.arguments) line += " '" + word + "'";
    SCOPED_TRACE("hostmap-server" + line);
    expect_refusal(run_server(row.arguments, name), 2, row.words);
    EXPECT_TRUE(files_of_instance(name).empty()) << "a refusal leaves nothing behind";
  }
}

TEST(ServerOptions, BucketsOutOfBoundsAreRefused) {
  expect_all_refused({
      {{"0"}, {"BUCKETS", "0", "1", "4294967296"}},
      {{"4294967297"}, {"BUCKETS", "4294967297"}},
      {{"-1"}, {"BUCKETS", "-1"}},
      {{"abc"}, {"BUCKETS", "abc"}},
      {{"1.5"}, {"BUCKETS", "1.5"}},
      {{"10x"}, {"BUCKETS", "10x"}},
      {{""}, {"BUCKETS"}},
      {{"18446744073709551616"}, {"BUCKETS"}},
      {{"10", "20"}, {"20"}},
  });
}

TEST(ServerOptions, SizesOutOfBoundsAreRefused) {
  expect_all_refused({
      {{"--memory", "524287"}, {"--memory", "524287", "524288", "1099511627776"}},
      {{"--memory", "1099511627777"}, {"--memory", "1099511627777"}},
      {{"--memory", "1025G"}, {"--memory"}},
      {{"--memory", "17179869184G"}, {"--memory"}},
      {{"--memory", "0"}, {"--memory", "0"}},
      {{"--memory", "12Q"}, {"--memory", "12Q"}},
      {{"--memory", "K"}, {"--memory", "K"}},
      {{"--memory", "1KB"}, {"--memory", "1KB"}},
      {{"--memory", "-1"}, {"--memory", "-1"}},
      {{"--memory", " 1M"}, {"--memory"}},
      {{"--memory", ""}, {"--memory"}},
      {{"--memory"}, {"--memory"}},
      {{"--max-memory", "524287"}, {"--max-memory", "524287", "524288", "1099511627776"}},
      {{"--max-memory", "1025G"}, {"--max-memory"}},
      {{"--max-memory", "0"}, {"--max-memory", "0"}},
      {{"--max-memory", "x"}, {"--max-memory", "x"}},
      {{"--memory", "8M", "--max-memory", "4M"}, {"--max-memory 4194304 is less than --memory 8388608"}},
      {{"--set-limit"}, {"--set-limit", "give --memory"}},
      {{"--ring-size", "4095"}, {"--ring-size", "4095", "4096", "67108864"}},
      {{"--ring-size", "2048"}, {"--ring-size", "2048"}},
      {{"--ring-size", "4097"}, {"--ring-size", "4097", "power of two"}},
      {{"--ring-size", "65537"}, {"--ring-size", "65537", "power of two"}},
      {{"--ring-size", "67108865"}, {"--ring-size", "67108865"}},
      {{"--ring-size", "128M"}, {"--ring-size"}},
      {{"--ring-size", "0"}, {"--ring-size", "0"}},
      {{"--ring-size", "64Kb"}, {"--ring-size", "64Kb"}},
      {{"--max-value", "7"}, {"--max-value", "7", "8", "1073741824"}},
      {{"--max-value", "1073741825"}, {"--max-value", "1073741825"}},
      {{"--max-value", "0"}, {"--max-value", "0"}},
      {{"--max-value", "x"}, {"--max-value", "x"}},
  });
}

TEST(ServerOptions, CountsOutOfBoundsAreRefused) {
  expect_all_refused({
      {{"--workers", "0"}, {"--workers", "0"}},
      {{"64", "--workers", "33"}, {"--workers", "33", "1", "32"}},
      {{"--workers", "-1"}, {"--workers", "-1"}},
      {{"--workers", "4294967297"}, {"--workers", "4294967297"}},
      {{"--workers", "two"}, {"--workers", "two"}},
      {{"1", "--workers", "2"}, {"--workers", "2", "BUCKETS", "1"}},
      {{"3", "--workers", "4"}, {"--workers", "4", "BUCKETS", "3"}},
      {{"--max-connections", "0"}, {"--max-connections", "0", "1", "65536"}},
      {{"--max-connections", "65537"}, {"--max-connections", "65537"}},
      {{"--max-connections", "-1"}, {"--max-connections", "-1"}},
      {{"--max-connections", "many"}, {"--max-connections", "many"}},
  });
}

TEST(ServerOptions, UnknownOptionsAndGroupsAreRefused) {
  expect_all_refused({
      {{"--group", "no-such-group"}, {"--group", "no-such-group"}},
      {{"--group", "-1"}, {"--group"}},
      {{"--group", "4294967295"}, {"--group"}},
      {{"--bogus"}, {"--bogus"}},
      {{"-x"}, {"-x"}},
  });
}

TEST(ServerOptions, AFolderThatIsNotInMemoryIsRefused) {
  const std::string file = "/dev/shm/" + unique_name();
  std::filesystem::copy_file("/proc/self/exe", file);
  expect_all_refused({
      {{"--dir", "relative"}, {"--dir", "relative"}},
      {{"--dir", "/nonexistent/folder"}, {"--dir", "/nonexistent/folder"}},
      {{"--dir", "/proc"}, {"--dir", "/proc", "tmpfs"}},
      {{"--dir", "/sys"}, {"--dir", "/sys", "tmpfs"}},
      {{"--dir", file}, {"--dir", file}},
      {{"--dir"}, {"--dir"}},
  });
  remove_path(file);
}

TEST(ServerOptions, AnInvalidNameIsRefused) {
  for (const std::string& name :
       {std::string(), std::string("a/b"), std::string("../x"), std::string("a b"), std::string("k\xc3\xb6nig"),
        std::string("a\nb"), std::string(65, 'x'), std::string("."), std::string("..")}) {
    SCOPED_TRACE("name '" + name + "'");
    expect_refusal(run_server({}, name), 2, {"name"});
    expect_refusal(run({program("hostmap-client"), "--name", name, "1"}), 2, {"name"});
    expect_refusal(run({program("hostmap"), "--name", name, "stat"}), 2, {"name"});
  }
  // As one word, which no program takes for options of its own.
  for (const char* name : {"--name=", "--name=-x", "--name=--keep"}) {
    SCOPED_TRACE(name);
    expect_refusal(run({program("hostmap-server"), name, "10"}), 2, {"name"});
    expect_refusal(run({program("hostmap-client"), name, "1"}), 2, {"name"});
    expect_refusal(run({program("hostmap"), name, "stat"}), 2, {"name"});
  }
}

// Of two errors one is reported, by its own words.
TEST(ServerOptions, AnEmptyNameBesideAnotherErrorIsRefusedWithOneSentence) {
  for (const auto& [program_name, words] : std::vector<std::pair<const char*, std::vector<std::string>>>{
           {"hostmap-server", {"--workers", "99"}}, {"hostmap-client", {"x"}}, {"hostmap", {"bogus"}}}) {
    SCOPED_TRACE(program_name);
    std::vector<std::string> command{program(program_name), "--name="};
    command.insert(command.end(), words.begin(), words.end());
    const Ran ran = run(command);
    expect_refusal(ran, 2, {});
    EXPECT_TRUE(ran.errors.find("--name") != std::string::npos || ran.errors.find(words.back()) != std::string::npos)
        << ran.errors;
  }
}

TEST(ServerOptions, InvalidOptionsOfTheOtherProgramsAreRefusedToo) {
  const std::string client = program("hostmap-client");
  const std::string command = program("hostmap");
  const std::vector<Row> rows{
      {{client}, {"ID"}},
      {{client, "x"}, {"ID", "x"}},
      {{client, "-1"}, {"ID", "-1"}},
      {{client, "1", "2"}, {"2"}},
      {{client, "9007199254740991"}, {"ID"}},
      {{client, "1", "--seconds", "0"}, {"--seconds"}},
      {{client, "1", "--seconds", "-1"}, {"--seconds"}},
      {{client, "1", "--seconds", "nan"}, {"--seconds"}},
      {{client, "1", "--seconds", "1000001"}, {"--seconds"}},
      {{client, "1", "--dir", "relative"}, {"--dir", "relative"}},
      {{client, "1", "--bogus"}, {"--bogus"}},
      {{command}, {"command"}},
      {{command, "bogus"}, {"bogus"}},
      {{command, "stat", "--bogus"}, {"--bogus"}},
      {{command, "--dir", "relative", "stat"}, {"--dir", "relative"}},
  };
  for (const Row& row : rows) {
    const Ran ran = run(row.arguments);
    SCOPED_TRACE(row.arguments.size() > 1 ? row.arguments[0] + " " + row.arguments[1] : row.arguments[0]);
    expect_refusal(ran, 2, row.words);
  }
}

}  // namespace
}  // namespace hostmap::test
