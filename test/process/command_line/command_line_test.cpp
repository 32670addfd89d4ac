// The command line: every subcommand, what it prints, and its exit code.
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "layout/region.hpp"
#include "process/harness/server.hpp"
#include "shm/obstacle.hpp"

namespace hostmap::test {
namespace {

// Does the list of instances show this one in this state? The column is as wide as the longest name, including those of
// other tests.
bool shows(const std::string& listed, const std::string& name, const std::string& state) {
  return std::regex_search(listed, std::regex("(^|\n)" + name + " +" + state));
}

std::vector<std::string> command(const Server& server, const std::vector<std::string>& arguments) {
  std::vector<std::string> words{program("hostmap"), "--name", server.name()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

Ran hostmap(const Server& server, const std::vector<std::string>& arguments) { return run(command(server, arguments)); }

// A line of shell in which "$@" is the command.
Ran shell(const Server& server, const std::string& line, const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"bash", "-c", line, "bash"};
  const std::vector<std::string> rest = command(server, arguments);
  words.insert(words.end(), rest.begin(), rest.end());
  return run(words);
}

void expect_silence(const Ran& ran, int code = 0) {
  EXPECT_EQ(ran.exit, exited(code)) << ran.errors;
  EXPECT_EQ(ran.output, "");
  EXPECT_EQ(ran.errors, "");
}

void expect_output(const Ran& ran, const std::string& output) {
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  EXPECT_EQ(ran.output, output);
  EXPECT_EQ(ran.errors, "");
}

// A file with these bytes, for standard input.
class InputFile {
 public:
  explicit InputFile(const std::string& bytes) : path_(unique_path()) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~InputFile() { remove_path(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// --- Keys and values -------------------------------------------------------------------------------------------------

TEST(CommandLine, PutGetExistsAndEraseDoWhatTheySay) {
  const Server server;
  expect_silence(hostmap(server, {"put", "language", "C++"}));
  expect_output(hostmap(server, {"get", "language"}), "C++");
  expect_silence(hostmap(server, {"exists", "language"}));
  expect_silence(hostmap(server, {"put", "language", "C"}));
  expect_output(hostmap(server, {"get", "language"}), "C");
  expect_silence(hostmap(server, {"erase", "language"}));
  EXPECT_EQ(server.stat("entries"), 0u);
}

TEST(CommandLine, AppendExchangeAndTakePrintWhatTheySay) {
  const Server server;
  expect_output(hostmap(server, {"append", "log", "one;"}), "4\n");
  expect_output(shell(server, "printf 'two;' | \"$@\"", {"append", "log", "-"}), "8\n");
  expect_output(hostmap(server, {"get", "log"}), "one;two;");
  expect_silence(hostmap(server, {"exchange", "owner", "first"}));
  expect_output(hostmap(server, {"exchange", "owner", "second"}), "first");
  expect_output(shell(server, "printf third | \"$@\"", {"exchange", "owner", "-"}), "second");
  expect_output(hostmap(server, {"take", "owner"}), "third");
  expect_refusal(hostmap(server, {"take", "owner"}), 1, {"hostmap: no such key"});
  expect_output(hostmap(server, {"append", "-x", "owner", "\\x00"}), "1\n");
  expect_output(hostmap(server, {"take", "-x", "\\x6fwner"}), std::string(1, '\0'));
}

TEST(CommandLine, PutIfAbsentAndIfPresentSetOnlyThen) {
  const Server server;
  expect_refusal(hostmap(server, {"put", "--if-present", "key", "a"}), 1, {"hostmap: no such key"});
  expect_silence(hostmap(server, {"put", "--if-absent", "key", "b"}));
  expect_refusal(hostmap(server, {"put", "--if-absent", "key", "c"}), 1, {"exists already"});
  expect_output(hostmap(server, {"get", "key"}), "b");
  expect_silence(shell(server, "printf d | \"$@\"", {"put", "key", "-", "--if-present"}));
  expect_output(hostmap(server, {"get", "key"}), "d");
}

TEST(CommandLine, PutAndEraseApplyOnlyIfTheValueIsAsGiven) {
  const Server server;
  expect_refusal(hostmap(server, {"put", "key", "b", "--if-value", "a"}), 1, {"hostmap: no such key"});
  expect_silence(hostmap(server, {"put", "key", "a"}));
  expect_silence(hostmap(server, {"put", "--if-value", "a", "--", "key", "-b"}));
  expect_refusal(hostmap(server, {"put", "key", "c", "--if-value", "a"}), 1, {"not the expected one"});
  expect_refusal(hostmap(server, {"erase", "key", "--if-value", "a"}), 1, {"not the expected one"});
  expect_output(hostmap(server, {"get", "key"}), "-b");
  expect_silence(hostmap(server, {"erase", "-x", "key", "--if-value", "\\x2db"}));
  expect_refusal(hostmap(server, {"erase", "key", "--if-value", "-b"}), 1, {"hostmap: no such key"});
  expect_silence(hostmap(server, {"put", "key", ""}));
  expect_silence(hostmap(server, {"erase", "key", "--if-value", ""}));
}

TEST(CommandLine, ATokenFromGetAllowsOnePutOrErase) {
  const Server server;
  expect_silence(hostmap(server, {"put", "key", "a"}));
  const auto token_of_key = [&] {
    const Ran ran = hostmap(server, {"get", "--token", "key"});
    EXPECT_EQ(ran.exit, kSuccess);
    EXPECT_TRUE(std::regex_match(ran.errors, std::regex("[0-9a-f]{32}\n"))) << ran.errors;
    return ran.errors.substr(0, 32);
  };
  EXPECT_EQ(hostmap(server, {"get", "--token", "key"}).output, "a");
  const std::string first = token_of_key();
  expect_silence(hostmap(server, {"put", "key", "b", "--if-token", first}));
  expect_refusal(hostmap(server, {"put", "key", "c", "--if-token", first}), 1, {"not the expected one"});
  expect_refusal(hostmap(server, {"erase", "key", "--if-token", first}), 1, {"not the expected one"});
  expect_output(hostmap(server, {"get", "key"}), "b");
  std::string second = token_of_key();
  for (char& digit : second) digit = static_cast<char>(std::toupper(digit));
  expect_silence(hostmap(server, {"erase", "key", "--if-token=" + second}));
  expect_refusal(hostmap(server, {"erase", "key", "--if-token", second}), 1, {"hostmap: no such key"});
  expect_refusal(hostmap(server, {"get", "--token", "key"}), 1, {"hostmap: no such key"});
  // The zero token stands for an absent key.
  const std::string zero(32, '0');
  expect_refusal(hostmap(server, {"erase", "key", "--if-token", zero}), 4, {"zero token"});
  expect_silence(hostmap(server, {"put", "key", "d", "--if-token", zero}));
  expect_refusal(hostmap(server, {"put", "key", "e", "--if-token", zero}), 1, {"exists already"});
}

TEST(CommandLine, AKeyIsThereUntilItsTimeHasPassedAndNoLonger) {
  using Clock = std::chrono::steady_clock;
  Server server({"10"});
  for (const std::chrono::milliseconds ttl : {std::chrono::milliseconds(30), std::chrono::milliseconds(100)}) {
    const Clock::time_point before = Clock::now();
    expect_silence(hostmap(server, {"put", "key", "value", "--ttl", std::to_string(ttl.count()) + "ms"}));
    const Clock::time_point end = Clock::now() + ttl + std::chrono::microseconds(1);  // at the latest
    for (bool found = true; found;) {
      const Clock::time_point begin = Clock::now();
      const Ran get = hostmap(server, {"get", "key"});
      found = get.exit == kSuccess;
      if (found) {
        ASSERT_LT(begin, end) << "present after its end";
      } else {
        ASSERT_EQ(get.exit, (Exit{1, 0})) << get.errors;
        ASSERT_GE(Clock::now(), before + ttl) << "absent before its end";
      }
    }
  }
}

TEST(CommandLine, EraseWithAPrefixPrintsHowManyKeysItHasRemoved) {
  const Server server;
  for (const char* key : {"user:1", "user:2", "use", "other"}) expect_silence(hostmap(server, {"put", key, "v"}));
  expect_output(hostmap(server, {"erase", "--prefix", "user:"}), "2\n");
  expect_output(hostmap(server, {"erase", "-x", "--prefix", "\\x75ser:"}), "0\n");
  EXPECT_EQ(server.stat("entries"), 2u);
}

TEST(CommandLine, ScanFromACursorPrintsTheNextCursorLast) {
  const Server server({"10", "--workers", "1"});
  std::set<std::string> keys;
  {
    Client client = server.connect();
    for (int i = 0; i < 500; ++i) {
      keys.insert("key" + std::to_string(i));
      ASSERT_EQ(client.put("key" + std::to_string(i), "v"), StatusCode::kOk);
    }
  }
  std::set<std::string> met;
  std::string cursor = "0";
  int calls = 0;
  do {
    const Ran ran = hostmap(server, {"scan", "--cursor", cursor, "--limit", "60", "key"});
    ASSERT_EQ(ran.exit, exited(0)) << ran.errors;
    std::vector<std::string> lines = lines_of(ran.output);
    ASSERT_FALSE(lines.empty());
    cursor = lines.back();
    lines.pop_back();
    for (const std::string& line : lines) EXPECT_TRUE(met.insert(line).second) << line;
    ++calls;
  } while (cursor != "0");
  EXPECT_EQ(met, keys);
  EXPECT_GT(calls, 2);
  expect_output(hostmap(server, {"scan", "--limit", "5", "-0", "--values", "key499"}),
                std::string("key499\0v\0000\0", 11));
}

TEST(CommandLine, AMissingKeyIsExitCodeOne) {
  const Server server;
  expect_refusal(hostmap(server, {"get", "nothing"}), 1, {"hostmap: no such key"});
  expect_refusal(hostmap(server, {"erase", "nothing"}), 1, {"hostmap: no such key"});
  expect_silence(hostmap(server, {"exists", "nothing"}), 1);
}

TEST(CommandLine, AnyWordMayBeAKeyAndAValue) {
  const Server server;
  for (const std::string word : {"get", "stat", "++", "[a,b]", "{}", "%%", "'x'", "\"x\"", "a b", "a=b", "-5", "\x01",
                                 "k\xc3\xb6nig", "\\", "\n", "#", "/h"}) {
    SCOPED_TRACE("word '" + word + "'");
    expect_silence(hostmap(server, {"put", word, word}));
    expect_output(hostmap(server, {"get", word}), word);
    expect_silence(hostmap(server, {"erase", word}));
  }
  for (const std::string word : {"--", "-k", "--name", "-h", "--help", "-0", "\x01\x01", "++"}) {
    SCOPED_TRACE("behind --: '" + word + "'");
    expect_silence(hostmap(server, {"put", "--", word, word}));
    expect_output(hostmap(server, {"get", "--", word}), word);
    expect_output(hostmap(server, {"scan", "-0", "--", word}), word + '\0');
    expect_silence(hostmap(server, {"erase", "--", word}));
  }
  expect_silence(hostmap(server, {"put", "-", "dash"}));
  expect_output(hostmap(server, {"get", "-"}), "dash");
}

TEST(CommandLine, AnEmptyValueIsAValue) {
  const Server server;
  expect_silence(hostmap(server, {"put", "key", ""}));
  expect_silence(hostmap(server, {"get", "key"}));
  expect_silence(hostmap(server, {"exists", "key"}));
  expect_silence(shell(server, "\"$@\" < /dev/null", {"put", "from nothing", "-"}));
  expect_silence(hostmap(server, {"get", "from nothing"}));
}

TEST(CommandLine, AValueComesFromStandardInputByteForByte) {
  const Server server;
  std::string all_bytes;
  for (int i = 0; i < 256; ++i) all_bytes += static_cast<char>(i);
  for (std::string value : {std::string("a\0b\nc\n", 6), all_bytes, std::string(3'000'001, 'x')}) {
    value.back() = '\n';
    const InputFile file(value);
    expect_silence(shell(server, "\"$@\" < " + file.path(), {"put", "key", "-"}));
    EXPECT_TRUE(hostmap(server, {"get", "key"}).output == value) << value.size() << " bytes";
  }
  expect_silence(shell(server, "(printf one; sleep 0.1; printf two) | \"$@\"", {"put", "key", "-"}));
  expect_output(hostmap(server, {"get", "key"}), "onetwo");
  expect_refusal(shell(server, "\"$@\" <&-", {"put", "key", "-"}), 4, {"standard input"});
  expect_refusal(shell(server, "\"$@\" < /", {"put", "key", "-"}), 4, {"standard input", "directory"});
  expect_output(hostmap(server, {"get", "key"}), "onetwo");
}

TEST(CommandLine, AKeyHas65536BytesAtMost) {
  const Server server;
  const std::string longest(65536, 'k');
  expect_silence(hostmap(server, {"put", longest, "value"}));
  expect_output(hostmap(server, {"get", longest}), "value");
  expect_output(hostmap(server, {"scan"}), longest + "\n");
  for (const char* verb : {"get", "erase", "exists", "incr"}) {
    expect_refusal(hostmap(server, {verb, longest + "k"}), 4, {"65,536"});
  }
  expect_refusal(hostmap(server, {"put", longest + "k", "v"}), 4, {"65,536"});
}

TEST(CommandLine, ATerminalGetsANewlineAfterTheValue) {
  const UniqueFd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal) GTEST_SKIP() << "there are no pseudo-terminals here";
  const Server server;
  expect_silence(hostmap(server, {"put", "key", "value"}));
  const std::string words = program("hostmap") + " --name " + server.name() + " get key";
  const Ran ran = run({"script", "-qec", words, "/dev/null"});
  if (ran.exit == exited(kChildSetupFailed)) GTEST_SKIP() << "there is no script(1)";
  EXPECT_EQ(ran.exit, kSuccess);
  EXPECT_EQ(ran.output, "value\r\n");
}

// --- incr ------------------------------------------------------------------------------------------------------------

TEST(CommandLine, IncrPrintsTheNewNumber) {
  const Server server;
  expect_output(hostmap(server, {"incr", "n"}), "1\n");
  expect_output(hostmap(server, {"incr", "n", "41"}), "42\n");
  expect_output(hostmap(server, {"incr", "n", "-50"}), "-8\n");
  expect_output(hostmap(server, {"incr", "n", "0"}), "-8\n");
  expect_output(hostmap(server, {"incr", "n", "--", "-1"}), "-9\n");
  expect_output(hostmap(server, {"get", "n"}), "-9");
  expect_output(hostmap(server, {"incr", "low", "-9223372036854775808"}), "-9223372036854775808\n");
  expect_refusal(hostmap(server, {"incr", "low", "-1"}), 4, {"64 bits"});
  expect_silence(hostmap(server, {"put", "text", "many"}));
  expect_refusal(hostmap(server, {"incr", "text"}), 4, {"number"});
  expect_output(hostmap(server, {"get", "text"}), "many");
}

TEST(CommandLine, IncrOfAFractionCalculatesWithDoubles) {
  const Server server;
  expect_output(hostmap(server, {"incr", "n", "0.5"}), "0.5\n");
  expect_output(hostmap(server, {"incr", "n", "-2.25"}), "-1.75\n");
  expect_output(hostmap(server, {"get", "n"}), "-1.75");
  expect_refusal(hostmap(server, {"incr", "n"}), 4, {"number"});
  expect_output(hostmap(server, {"incr", "n", "1.75"}), "0\n");
  expect_output(hostmap(server, {"incr", "n", "1e22"}), "1e+22\n");
  expect_output(hostmap(server, {"incr", "whole", "5."}), "5\n");
  expect_output(hostmap(server, {"incr", "whole"}), "6\n");
  expect_output(hostmap(server, {"incr", "largest", "1.7976931348623157e308"}), "1.7976931348623157e+308\n");
  expect_refusal(hostmap(server, {"incr", "largest", "1.7976931348623157e308"}), 4, {"infinite"});
}

TEST(CommandLine, IncrOfAnAbsentKeyBeginsWithTheInitialNumberAndGivesItATime) {
  const Server server;
  expect_output(hostmap(server, {"incr", "n", "--initial", "-40", "--ttl", "1h"}), "-39\n");
  const std::chrono::milliseconds left = *server.connect().ttl("n");
  EXPECT_GT(left, std::chrono::minutes(59));
  EXPECT_LE(left, std::chrono::hours(1));
  expect_output(hostmap(server, {"incr", "n", "2", "--initial", "-40", "--ttl", "7d"}), "-37\n");
  EXPECT_LE(*server.connect().ttl("n"), std::chrono::hours(1)) << "a key that is present keeps its end";
  expect_output(hostmap(server, {"incr", "half", "--initial", "0.5"}), "1.5\n");
  EXPECT_EQ(*server.connect().ttl("half"), kForever);
  expect_refusal(hostmap(server, {"incr", "new", "--ttl", "0s"}), 2, {"'0s' is not a time to live"});
  for (const std::string initial : {"", "x", "1e999", "9223372036854775808"}) {
    expect_refusal(hostmap(server, {"incr", "new", "--initial", initial}), 2, {"--initial '" + initial + "'"});
  }
  expect_silence(hostmap(server, {"exists", "new"}), 1);
}

TEST(CommandLine, ABadByIsAUsageError) {
  const Server server;
  for (const std::string by : {"", "x", "+1", "5x", " 1", "0x10", "9223372036854775808", "-9223372036854775809",
                               "1.5.5", "1,5", "1e", "1e999", "inf", "nan", "+1.5", "0x1.8p1", "1.5 "}) {
    expect_refusal(hostmap(server, {"incr", "n", by}), 2, {"BY", "'" + by + "'", "decimal number"});
  }
  expect_silence(hostmap(server, {"exists", "n"}), 1);
}

// --- scan and clear --------------------------------------------------------------------------------------------------

std::multiset<std::string> sorted_lines(const Ran& ran) {
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  const std::vector<std::string> lines = lines_of(ran.output);
  return {lines.begin(), lines.end()};
}

TEST(CommandLine, ScanPrintsKeysOneALine) {
  const Server server;
  expect_silence(hostmap(server, {"scan"}));
  std::multiset<std::string> all;
  std::multiset<std::string> with_values;
  Client client = server.connect();
  for (int i = 0; i < 300; ++i) {
    const std::string key = (i % 2 == 0 ? "even:" : "odd:") + std::to_string(i);
    ASSERT_TRUE(client.put(key, std::to_string(i)).ok());
    all.insert(key);
    if (i % 2 == 0) with_values.insert(key + "\t" + std::to_string(i));
  }
  EXPECT_EQ(sorted_lines(hostmap(server, {"scan"})), all);
  EXPECT_EQ(sorted_lines(hostmap(server, {"scan", ""})), all);
  EXPECT_EQ(sorted_lines(hostmap(server, {"scan", "even:", "--values"})), with_values);
  EXPECT_EQ(sorted_lines(hostmap(server, {"scan", "--values", "even:"})), with_values);
  expect_silence(hostmap(server, {"scan", "neither"}));
}

TEST(CommandLine, ScanEscapesUnprintableBytes) {
  const Server server;
  Client client = server.connect();
  const std::string key("a\0\t\n\\\x7f\xff ~", 9);
  ASSERT_TRUE(client.put(key, std::string("\r\\x00", 5)).ok());
  expect_output(hostmap(server, {"scan"}), "a\\x00\\x09\\x0a\\x5c\\x7f\\xff ~\n");
  expect_output(hostmap(server, {"scan", "--values"}), "a\\x00\\x09\\x0a\\x5c\\x7f\\xff ~\t\\x0d\\x5cx00\n");
  expect_output(hostmap(server, {"scan", "-0"}), key + '\0');
  expect_output(hostmap(server, {"scan", "-0", "--values"}), key + '\0' + "\r\\x00" + '\0');
}

TEST(CommandLine, AReaderThatLeavesEndsScanQuietly) {
  const Server server({"1024"});
  Client client = server.connect();
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(client.put_async("key " + std::to_string(i), "value").ok());
  ASSERT_TRUE(client.flush().ok());
  const Ran ran = shell(server, "\"$@\" | head -1; echo ${PIPESTATUS[0]}", {"scan", "--values"});
  EXPECT_EQ(ran.exit, kSuccess);
  EXPECT_EQ(ran.errors, "");
  const std::vector<std::string> lines = lines_of(ran.output);
  ASSERT_EQ(lines.size(), 2u) << ran.output;
  EXPECT_TRUE(lines[0].starts_with("key ")) << lines[0];
  EXPECT_EQ(lines[1], "0");
}

TEST(CommandLine, AFullOrClosedOutputIsAnError) {
  const Server server;
  expect_silence(hostmap(server, {"put", "n", "1"}));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"get", "n"}, {"scan"}, {"incr", "n"}, {"stat"}, {"ls"}, {"check"}}) {
    SCOPED_TRACE(arguments[0]);
    expect_refusal(shell(server, "\"$@\" > /dev/full", arguments), 4, {"standard output", "space"});
    expect_refusal(shell(server, "\"$@\" >&-", arguments), 4, {"standard output"});
  }
  expect_silence(shell(server, "\"$@\" <&- >&- 2>&-", {"put", "n", "2"}));
}

// Any command with -x accepts a key as scan prints it.
TEST(CommandLine, EscapedKeysAndValuesAreUnderstoodByEveryCommandThatTakesThem) {
  const Server server;
  Client client = server.connect();
  std::string all_bytes;
  for (int i = 0; i < 256; ++i) all_bytes += static_cast<char>(i);
  const std::vector<std::string> keys{std::string("\x05\0\0\0\0\0\0\0", 8), "back\\slash", "k\xc3\xb6nig", all_bytes};
  for (const std::string& key : keys) {
    ASSERT_TRUE(client.put(key, key + " value").ok());
    const std::vector<std::string> lines = lines_of(hostmap(server, {"scan"}).output);
    ASSERT_EQ(lines.size(), 1u);
    SCOPED_TRACE(lines[0]);
    expect_output(hostmap(server, {"get", "-x", "--", lines[0]}), key + " value");
    expect_silence(hostmap(server, {"exists", "--escaped", "--", lines[0]}));
    expect_output(hostmap(server, {"scan", "-x", "--", lines[0]}), lines[0] + "\n");
    expect_silence(hostmap(server, {"put", "-x", "--", lines[0], lines[0]}));
    EXPECT_EQ(*client.get(key), key) << "the value is escaped, too";
    expect_silence(hostmap(server, {"erase", "-x", "--", lines[0]}));
    EXPECT_EQ(client.exists(key), StatusCode::kNotFound);
    expect_output(hostmap(server, {"incr", "-x", "--", lines[0]}), "1\n");
    ASSERT_TRUE(client.erase(key).ok());
  }
  expect_silence(hostmap(server, {"put", "-x", "dash", "\\x2d"}));
  EXPECT_EQ(*client.get("dash"), "-");
  expect_silence(hostmap(server, {"put", "\\x41", "as it is"}));
  EXPECT_EQ(*client.get("\\x41"), "as it is") << "without -x";
  for (const std::string bad : {"\\", "\\x", "\\x4", "\\xg1", "\\x1g", "\\n", "a\\", "\\x-1"}) {
    expect_refusal(hostmap(server, {"get", "-x", bad}), 2, {"backslash", "\\x5c"});
  }
}

// On a terminal with a UTF-8 locale, UTF-8 characters are printed as they are; bytes that could disturb the terminal stay
// escaped, and so does all output that does not go to a terminal.
TEST(CommandLine, ScanShowsUtf8AsItIsOnAUtf8TerminalOnly) {
  const UniqueFd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal) GTEST_SKIP() << "there are no pseudo-terminals here";
  const Server server;
  Client client = server.connect();
  const std::string shown_as_it_is = "k\xc3\xb6nig \xe4\xb8\xad \xf0\x9f\x98\x80";
  // An incomplete character, a control character from 0x80, an override of the direction, a line separator.
  ASSERT_TRUE(client.put(shown_as_it_is + "\xc3 \xc2\x9b \xe2\x80\xae \xe2\x80\xa8 \\", "v").ok());
  const std::string rest = "\\xc3 \\xc2\\x9b \\xe2\\x80\\xae \\xe2\\x80\\xa8 \\x5c";
  const std::string escaped_key = "k\\xc3\\xb6nig \\xe4\\xb8\\xad \\xf0\\x9f\\x98\\x80" + rest;
  const std::string words = program("hostmap") + " --name " + server.name() + " scan";
  const auto in_terminal = [&](const char* locale) {
    return run({"env", std::string("LC_ALL=") + locale, "script", "-qec", words, "/dev/null"});
  };
  const Ran utf8 = in_terminal("C.UTF-8");
  if (utf8.exit == exited(127)) GTEST_SKIP() << "there is no script(1)";
  EXPECT_EQ(utf8.output, shown_as_it_is + rest + "\r\n");
  EXPECT_EQ(in_terminal("C").output, escaped_key + "\r\n");
  expect_output(run({"env", "LC_ALL=C.UTF-8", program("hostmap"), "--name", server.name(), "scan"}),
                escaped_key + "\n");
  expect_output(hostmap(server, {"get", "-x", shown_as_it_is + rest}), "v");
}

TEST(CommandLine, ClearRemovesEveryKey) {
  const Server server;
  for (const char* key : {"a", "b", "12345678"}) expect_silence(hostmap(server, {"put", key, "87654321"}));
  expect_silence(hostmap(server, {"clear"}));
  expect_silence(hostmap(server, {"scan"}));
  EXPECT_EQ(server.stat("entries"), 0u);
}

// --- Usage -----------------------------------------------------------------------------------------------------------

TEST(CommandLine, BadInputIsRefusedWithTheReason) {
  const Server server;
  struct Row {
    std::vector<std::string> arguments;
    std::vector<std::string> words;
  };
  const std::vector<Row> rows{
      {{}, {"command", "hostmap --help"}},
      {{""}, {"''"}},
      {{"bogus"}, {"bogus"}},
      {{"--", "put", "a", "b"}, {"put"}},
      {{"put"}, {"KEY", "hostmap put --help"}},
      {{"put", "k"}, {"VALUE", "hostmap put --help"}},
      {{"put", "k", "v", "w"}, {"'w'"}},
      {{"put", "", "v"}, {"KEY", "empty"}},
      {{"put", "", "-"}, {"KEY", "empty"}},
      {{"get", ""}, {"KEY", "empty"}},
      {{"erase", ""}, {"KEY", "empty"}},
      {{"erase"}, {"KEY or --prefix", "hostmap erase --help"}},
      {{"erase", "k", "--prefix", "k"}, {"--prefix", "KEY"}},
      {{"erase", "--prefix", ""}, {"prefix is empty", "hostmap clear"}},
      {{"scan", "--cursor", "x"}, {"--cursor 'x'", "0 or more"}},
      {{"scan", "--cursor", ""}, {"--cursor ''", "0 or more"}},
      {{"scan", "--cursor", "-1"}, {"--cursor '-1'", "0 or more"}},
      {{"scan", "--limit", "0"}, {"--limit '0'", "1 or more"}},
      {{"exists", ""}, {"KEY", "empty"}},
      {{"append", "", "-"}, {"KEY", "empty"}},
      {{"exchange", "", "-"}, {"KEY", "empty"}},
      {{"take", ""}, {"KEY", "empty"}},
      {{"append", "k"}, {"VALUE", "hostmap append --help"}},
      {{"take", "k", "v"}, {"'v'"}},
      {{"put", "k", "v", "--if-absent", "--if-present"}, {"--if-absent", "--if-present"}},
      {{"put", "k", "v", "--if-absent", "--if-token", std::string(32, 'a')}, {"--if-absent", "--if-token"}},
      {{"put", "k", "v", "--if-present", "--if-token", std::string(32, 'a')}, {"--if-present", "--if-token"}},
      {{"put", "k", "v", "--if-token"}, {"--if-token"}},
      {{"put", "k", "v", "--if-value", "a", "--ttl", "1s"}, {"--if-value", "--ttl"}},
      {{"put", "k", "v", "--if-value", "a", "--if-absent"}, {"--if-value", "--if-absent"}},
      {{"erase", "k", "--if-value", "a", "--if-token", std::string(32, 'a')}, {"--if-value", "--if-token"}},
      {{"erase", "--prefix", "k", "--if-value", "a"}, {"--if-value", "--prefix"}},
      {{"put", "k", "v", "--if-token", "abc"}, {"token 'abc' has 3 characters", "32 hexadecimal digits"}},
      {{"put", "k", "v", "--if-token", std::string(33, 'a')}, {"33 characters", "get --token"}},
      {{"put", "k", "v", "--if-token", std::string(31, 'a') + "g"}, {"not hexadecimal", "get --token"}},
      {{"put", "k", "v", "--if-token", "-" + std::string(31, 'a')}, {"not hexadecimal"}},
      {{"put", "k", "v", "--if-token", std::string(16, 'a') + "+" + std::string(15, 'a')}, {"not hexadecimal"}},
      {{"erase", "k", "--if-token", "abc"}, {"token 'abc' has 3 characters"}},
      {{"erase", "k", "--if-token", std::string(32, 'x')}, {"not hexadecimal"}},
      {{"incr", ""}, {"KEY", "empty"}},
      {{"get"}, {"KEY"}},
      {{"get", "a", "b"}, {"'b'"}},
      {{"get", "-k"}, {"'-k'"}},
      {{"get", "k", "--values"}, {"--values"}},
      {{"scan", "a", "b"}, {"'b'"}},
      {{"clear", "all"}, {"all"}},
      {{"help", "bogus"}, {"no command 'bogus'", "hostmap --help"}},
      {{"help", "put", "x"}, {"'x'"}},
      {{"ping", "--bogus"}, {"--bogus"}},
      {{"stop", "--keep", "--drop"}, {"--keep", "--drop"}},
      {{"put", "--bogus"}, {"--bogus"}},
      {{"ls", "x"}, {"x"}},
      {{"--timeout", "0", "ping"}, {"--timeout", "'0'", "0.001"}},
      {{"--timeout", "0.0009", "ping"}, {"--timeout"}},
      {{"--timeout", "1000001", "ping"}, {"--timeout", "1000000"}},
      {{"--timeout", "-1", "ping"}, {"--timeout"}},
      {{"--timeout", "nan", "ping"}, {"--timeout", "nan"}},
      {{"--timeout", "inf", "ping"}, {"--timeout", "inf"}},
      {{"--timeout", "5s", "ping"}, {"--timeout", "5s"}},
      {{"--timeout", "", "ping"}, {"--timeout"}},
      {{"ping", "--timeout"}, {"--timeout"}},
      {{"ping", "--timeout", "a\nb"}, {"--timeout", "\\x0a"}},
      {{"ls", "--dir", "/nonexistent"}, {"/nonexistent", "--dir"}},
      {{"ls", "--dir", "relative"}, {"--dir", "relative"}},
  };
  for (const Row& row : rows) {
    std::string line;
    for (const std::string& word : row.arguments) line += " '" + word + "'";
    SCOPED_TRACE("hostmap" + line);
    expect_refusal(hostmap(server, row.arguments), 2, row.words);
  }
  for (const std::string& name : {std::string(), std::string("a/b"), std::string("a\nb"), std::string(65, 'x')}) {
    for (const char* verb : {"ls", "ping", "stop", "check"}) {
      expect_refusal(run({program("hostmap"), "--name", name, verb}), 2, {"name"});
    }
  }
  EXPECT_EQ(server.stat("entries"), 0u);
}

TEST(CommandLine, CommonOptionsMayBeAnywhere) {
  const Server server;
  const std::string hostmap = program("hostmap");
  expect_silence(run({hostmap, "put", "--name", server.name(), "key", "--timeout", "0.001e3", "value"}));
  expect_output(run({hostmap, "get", "key", "--name=" + server.name(), "--dir", "/dev/shm/", "--timeout=1000000"}),
                "value");
}

TEST(CommandLine, EverySubcommandHasHelpWithAnExample) {
  const Server server;
  const Ran all = hostmap(server, {"--help"});
  EXPECT_EQ(all.exit, kSuccess);
  for (const char* verb : {"put", "append", "exchange", "get", "take", "erase", "exists", "incr", "scan", "clear",
                           "stat", "ls", "ping", "stop", "check", "help"}) {
    SCOPED_TRACE(verb);
    EXPECT_NE(all.output.find(std::string("\n  ") + verb), std::string::npos);
    const Ran ran = hostmap(server, {verb, "--help"});
    EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
    EXPECT_TRUE(ran.output.starts_with(std::string("Usage: hostmap ") + verb)) << ran.output;
    EXPECT_NE(ran.output.find("\nExample: "), std::string::npos) << ran.output;
    for (const std::string& line : lines_of(ran.output)) EXPECT_LE(line.size(), 120u);
  }
}

// Every program's help, and that of every command.
std::vector<std::vector<std::string>> commands_that_help() {
  std::vector<std::vector<std::string>> commands{
      {program("hostmap"), "--help"}, {program("hostmap-server"), "--help"}, {program("hostmap-client"), "--help"}};
  for (const char* verb : {"put", "append", "exchange", "get", "take", "erase", "exists", "incr", "scan", "clear",
                           "stat", "ls", "ping", "stop", "check", "help"}) {
    commands.push_back({program("hostmap"), verb, "--help"});
  }
  return commands;
}

std::multiset<std::string> set_of_words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

TEST(CommandLine, EveryHelpFitsTheColumnsAndBreaksNoWord) {
  for (const auto& words : commands_that_help()) {
    const std::string wide = run(words, {.environment = {"COLUMNS=1000"}}).output;
    for (const std::string columns : {"", "80", "56", "100"}) {
      const Ran ran = run(words, {.environment = {"COLUMNS=" + columns}});
      EXPECT_EQ(ran.exit, kSuccess);
      EXPECT_EQ(set_of_words(ran.output), set_of_words(wide));
      for (const std::string& line : lines_of(ran.output)) {
        EXPECT_LE(line.size(), columns.empty() ? 80u : std::stoul(columns)) << line;
        EXPECT_FALSE(line.ends_with(' ')) << "'" << line << "'";
      }
    }
  }
}

TEST(CommandLine, HelpOfMoreColumnsHasFewerLines) {
  const auto lines_with = [](const char* columns) {
    return lines_of(run({program("hostmap-server"), "--help"}, {.environment = {columns}}).output).size();
  };
  EXPECT_LT(lines_with("COLUMNS=120"), lines_with("COLUMNS=80"));
  EXPECT_LT(lines_with("COLUMNS=80"), lines_with("COLUMNS=40"));
  EXPECT_EQ(lines_with("COLUMNS=3"), lines_with("COLUMNS=40"));
  EXPECT_EQ(lines_with("COLUMNS=wide"), lines_with("COLUMNS=80"));
}

// The output on a terminal of 60 columns; its lines end with "\r\n".
std::string on_a_terminal(const std::string& which, const std::vector<std::string>& environment) {
  const std::string line = "stty cols 60; '" + program(which) + "' --help";
  const Ran ran = run({"script", "--quiet", "--return", "--command", line, "/dev/null"}, {.environment = environment});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  return std::regex_replace(ran.output, std::regex("\r"), "");
}

TEST(CommandLine, HelpOnATerminalHasItsWidthAndColoursUnlessTheyAreDisabled) {
  for (const char* which : {"hostmap", "hostmap-server", "hostmap-client"}) {
    const std::string piped = run({program(which), "--help"}, {.environment = {"COLUMNS=60"}}).output;
    EXPECT_EQ(piped.find('\x1b'), piped.npos);
    const std::string coloured = on_a_terminal(which, {"TERM=xterm", "NO_COLOR=", "COLUMNS=100"});
    EXPECT_NE(coloured.find("\x1b[1mUsage:\x1b[0m "), coloured.npos) << coloured;
    EXPECT_EQ(std::regex_replace(coloured, std::regex("\x1b\\[[01]m"), ""), piped);
    EXPECT_EQ(on_a_terminal(which, {"TERM=xterm", "NO_COLOR=1"}), piped);
    EXPECT_EQ(on_a_terminal(which, {"TERM=dumb", "NO_COLOR="}), piped);
  }
}

TEST(CommandLine, EveryProgramHasHelpAndTheVersionAsWordsToo) {
  for (const std::string which : {"hostmap", "hostmap-server", "hostmap-client"}) {
    const Ran help = run({program(which), "--help"});
    EXPECT_EQ(run({program(which), "help"}).output, help.output);
    EXPECT_EQ(run({program(which), "-h"}).output, help.output);
    EXPECT_NE(help.output.find("--version"), std::string::npos) << help.output;
    const Ran version = run({program(which), "--version"});
    EXPECT_EQ(version.exit, kSuccess);
    EXPECT_EQ(version.errors, "");
    const std::regex form(which + " [0-9]+\\.[0-9]+\\.[0-9]+ \\(commit [A-Za-z0-9.-]+, layout version " +
                          std::to_string(kLayoutVersion) + "\\)\n");
    EXPECT_TRUE(std::regex_match(version.output, form)) << version.output;
  }
  for (const char* verb : {"put", "stop", "help"}) {
    EXPECT_EQ(run({program("hostmap"), "help", verb}).output, run({program("hostmap"), verb, "--help"}).output);
  }
}

// The next word is an option of its own and is never taken for the missing value.
TEST(CommandLine, AnOptionWithoutItsValueIsNamed) {
  for (const std::string which : {"hostmap", "hostmap-server", "hostmap-client"}) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{"--name=", "--bogus"},
                                                  {"--name", "--bogus"},
                                                  {"--name="},
                                                  {"--name"},
                                                  {"--name=", "1"},
                                                  {"--dir", "--name"}}) {
      std::vector<std::string> command{program(which)};
      command.insert(command.end(), words.begin(), words.end());
      SCOPED_TRACE(which + " " + words[0] + " " + words.back());
      expect_refusal(run(command), 2, {words[0].substr(0, words[0].find('=')) + " needs a value", which + " --help"});
    }
    expect_refusal(run({program(which), "--name=-x", which == "hostmap" ? "ls" : "1"}), 2, {"'-x'", "--name"});
  }
  const Server server;
  expect_silence(hostmap(server, {"put", "--", "--name=", "value"}));
  expect_output(hostmap(server, {"get", "--", "--name="}), "value");
}

// A file in the server's place is not a usage error.
TEST(CommandLine, AHardLinkIsRefusedWithExitCodeFourAndHowToFindIt) {
  const Server server;
  const std::string other = unique_name();
  const std::string link = "/dev/shm/" + other + "-table";
  std::filesystem::create_hard_link("/dev/shm/" + server.name() + "-table", link);
  for (const char* verb : {"stat", "ping"}) {
    expect_refusal(run({program("hostmap"), "--name", other, verb}), 4, {link, "hard link", "find /dev/shm -samefile"});
  }
  expect_refusal(run({program("hostmap-client"), "--name", other, "1"}), 4, {link, "hard link"});
  expect_silence(hostmap(server, {"ping"}));
  remove_path(link);
}

TEST(CommandLine, HelpAndResultsThatCannotBeWrittenAreReported) {
  const std::string redirect = "\"$@\" > /dev/full";
  for (const char* which : {"hostmap", "hostmap-server", "hostmap-client"}) {
    SCOPED_TRACE(which);
    expect_refusal(run({"bash", "-c", redirect, "bash", program(which), "--help"}), 1, {"standard output", "space"});
    // No signal (SIGPIPE, SIGXFSZ) ends them if the pipe has no reader or if the limit of the file size is 0.
    const std::string exit_of_first = "\"$@\" 2>&1 | true; exit ${PIPESTATUS[0]}";
    EXPECT_EQ(run({"bash", "-c", exit_of_first, "bash", program(which), "--bad"}).exit, exited(2));
    EXPECT_EQ(run({"bash", "-c", exit_of_first, "bash", program(which), "--help"}).exit, exited(0));
    const std::string file = unique_path();
    const std::string no_room = "ulimit -f 0; \"$@\" > " + file;
    expect_refusal(run({"bash", "-c", no_room, "bash", program(which), "--help"}), 1, {"standard output"});
    remove_path(file);
  }
  const Server server;
  std::vector<std::string> words{"bash", "-c", redirect, "bash"};
  for (const std::string& word : server.client_command({"1", "--seconds", "0.1"})) words.push_back(word);
  expect_refusal(run(words), 1, {"hostmap-client:", "standard output", "space"});
}

TEST(CommandLine, WithWaitAClientWaitsForAServer) {
  const std::string name = unique_name();
  Program put({program("hostmap"), "--name", name, "--wait", "--timeout", "30", "put", "key", "value"});
  Program load({program("hostmap-client"), "--name", name, "--wait", "--seconds", "0.1", "1"});
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_TRUE(put.running());
  EXPECT_TRUE(load.running());
  const Server server({"10"}, {.name = name});
  EXPECT_EQ(put.wait(), kSuccess) << put.errors();
  EXPECT_EQ(load.wait(), kSuccess) << load.errors();
  expect_output(hostmap(server, {"get", "key"}), "value");
  const Ran none = run({program("hostmap"), "--name", unique_name(), "--wait", "--timeout", "0.2", "get", "key"});
  expect_refusal(none, 3, {"no server", "--wait"});
}

// --- Servers that are missing, full, slow or different ---------------------------------------------------------------

const std::vector<std::vector<std::string>>& commands_of_clients() {
  static const std::vector<std::vector<std::string>> commands{
      {"put", "k", "v"}, {"get", "k"}, {"erase", "k"}, {"exists", "k"}, {"incr", "k"}, {"scan"}, {"clear"}, {"ping"}};
  return commands;
}

TEST(CommandLine, WithoutAServerTheExitCodeIsThree) {
  Server server;
  server.stop_cleanly();
  for (const auto& arguments : commands_of_clients()) {
    expect_refusal(hostmap(server, arguments), 3, {server.name(), "hostmap-server --name"});
  }
  for (const char* verb : {"stat", "check"})
    expect_refusal(hostmap(server, {verb}), 3, {server.name(), "hostmap-server"});
  expect_refusal(hostmap(server, {"stop"}), 3, {server.name(), "hostmap --dir /dev/shm ls"});
}

TEST(CommandLine, AfterAServerHasDiedTheExitCodeIsThree) {
  Server server;
  server.kill();
  for (const auto& arguments : commands_of_clients()) {
    expect_refusal(hostmap(server, arguments), 3, {server.name(), "died"});
  }
  expect_refusal(hostmap(server, {"stat"}), 3, {server.name(), "died"});
  EXPECT_EQ(hostmap(server, {"check"}).exit, kSuccess) << "the table of a dead server can be checked";
  expect_refusal(hostmap(server, {"stop"}), 3, {server.name()});
  server.remove_regions();
}

TEST(CommandLine, WhatDoesNotFitIsRefusedWithExitCodeFour) {
  const Server server({"10", "--memory", "1M", "--max-value", "100000"});
  Client client = server.connect();
  Status status;
  for (int i = 0; status.ok() && i < 10'000; ++i)
    status = client.put("key " + std::to_string(i), std::string(1000, 'x'));
  ASSERT_EQ(status.code(), StatusCode::kFull);
  expect_refusal(hostmap(server, {"put", "one more", std::string(50'000, 'x')}), 4,
                 {"no memory", "hostmap limit SIZE"});
  const InputFile file(std::string(100'001, 'x'));
  expect_refusal(shell(server, "\"$@\" < " + file.path(), {"put", "k", "-"}), 4, {"--max-value"});
  expect_silence(hostmap(server, {"ping"}));
}

TEST(CommandLine, AStoppedServerIsExitCodeFive) {
  Server server;
  expect_silence(hostmap(server, {"put", "k", "v"}));
  server.pause();
  for (std::vector<std::string> arguments : commands_of_clients()) {
    arguments.insert(arguments.end(), {"--timeout", "0.05"});
    expect_refusal(hostmap(server, arguments), 5, {});
  }
  EXPECT_EQ(hostmap(server, {"stat"}).exit, kSuccess) << "needs no answer";
  EXPECT_EQ(hostmap(server, {"check"}).exit, kSuccess) << "likewise";
  server.send(SIGCONT);
  expect_silence(hostmap(server, {"ping"}));
}

TEST(CommandLine, AServerOfAnotherVersionIsExitCodeSixAndCanBeStopped) {
  Server server;
  {
    // The table's head, because the server repairs the master's whenever it is overwritten.
    std::fstream file("/dev/shm/" + server.name() + "-table", std::ios::in | std::ios::out | std::ios::binary);
    const std::uint32_t other = kLayoutVersion + 1;
    file.seekp(offsetof(RegionHeader, layout_version));
    file.write(reinterpret_cast<const char*>(&other), sizeof other);
  }
  for (const auto& arguments : commands_of_clients()) expect_refusal(hostmap(server, arguments), 6, {"version"});
  for (const char* verb : {"stat", "check"}) expect_refusal(hostmap(server, {verb}), 6, {"version"});
  const Ran listed = hostmap(server, {"ls"});
  EXPECT_TRUE(shows(listed.output, server.name(), "other layout version")) << listed.output;
  expect_silence(hostmap(server, {"stop"}));
  EXPECT_EQ(server.wait(), kSuccess);
}

// --- ping, stop, ls --------------------------------------------------------------------------------------------------

TEST(CommandLine, PingReachesTheServerAndChangesNothing) {
  const Server server;
  expect_silence(hostmap(server, {"put", "ping", "there"}));
  const auto before = server.stat();
  expect_silence(hostmap(server, {"ping"}));
  const auto after = server.stat();
  EXPECT_EQ(after.at("gets_by_ring"), before.at("gets_by_ring") + 1);
  EXPECT_EQ(after.at("puts") + after.at("erases"), before.at("puts") + before.at("erases"));
  EXPECT_TRUE(server.connections_come_to(0));
  expect_silence(hostmap(server, {"erase", "ping"}));
  expect_silence(hostmap(server, {"ping"}));
}

TEST(CommandLine, StopWaitsUntilTheServerHasEnded) {
  Server server;
  expect_silence(hostmap(server, {"stop"}));
  EXPECT_TRUE(server.files().empty());
  EXPECT_EQ(server.wait(), kSuccess);
  Server next({}, {.name = server.name()});
  expect_silence(hostmap(next, {"ping"}));
}

TEST(CommandLine, ReadOnlyCommandsNeitherChangeTheMapNorEndItsServer) {
  const Server server({"10"});
  const auto reader = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "--read-only");
    return hostmap(server, words);
  };
  ASSERT_EQ(server.connect().put("number", "1"), StatusCode::kOk);
  const std::vector<std::vector<std::string>> excluded = {{"stop"}, {"stop", "--keep"}, {"stop", "--drop"},
                                                          {"ping"}, {"limit", "4M"},    {"load", "/dev/null"}};
  for (const auto& words : excluded) {
    expect_refusal(reader(words), 2, {words.front(), "which --read-only does not allow"});
  }
  const std::vector<std::vector<std::string>> changes = {{"put", "number", "2"},      {"append", "number", "2"},
                                                         {"exchange", "number", "2"}, {"take", "number"},
                                                         {"erase", "number"},         {"erase", "--prefix", "n"},
                                                         {"incr", "number"},          {"expire", "number", "1ms"},
                                                         {"persist", "number"},       {"clear"}};
  for (const auto& words : changes) expect_refusal(reader(words), 4, {"read_only"});
  for (const char* command : {"get", "take"}) {
    EXPECT_EQ(hostmap(server, {command, "number"}).output, "1") << command;
  }
}

TEST(CommandLine, StopGivesUpAfterItsTimeout) {
  Server server;
  server.pause();
  expect_refusal(hostmap(server, {"stop", "--timeout", "0.2"}), 5,
                 {server.name(), std::to_string(server.pid()), "--timeout", "kill"});
  server.send(SIGCONT);
  EXPECT_EQ(server.wait(), kSuccess) << "the request is pending, and it stops as soon as it can";
}

TEST(CommandLine, StopInAnotherPidNamespaceSaysWhatToDo) {
  const Server server;
  const Ran ran = run(command(server, {"stop"}), {.wrapper = {"unshare", "--pid", "--fork"}});
  if (ran.errors.starts_with("unshare:")) GTEST_SKIP() << ran.errors;
  expect_refusal(ran, 4, {server.name(), "pid namespace", "container"});
  expect_silence(hostmap(server, {"ping"}));
}

TEST(CommandLine, AStrangersServerIsNeitherShownNorStopped) {
  if (!can_change_users()) GTEST_SKIP() << "only root can show this";
  const Server server({}, {.process = {.user = kSomeUser}});
  const ProcessSetup stranger{.user = kOtherUser};
  expect_refusal(run(command(server, {"stop"}), stranger), 4, {"user"});
  expect_refusal(run(command(server, {"check"}), stranger), 4, {});
  const Ran listed = run(command(server, {"ls"}), stranger);
  EXPECT_TRUE(shows(listed.output, server.name(), "no permission")) << listed.output;
  expect_silence(hostmap(server, {"ping", "--user", std::to_string(kSomeUser)}));
}

TEST(CommandLine, LsShowsEveryInstanceAndItsState) {
  const Server serving;
  expect_silence(hostmap(serving, {"put", "12345678", "87654321"}));
  Client client = serving.connect();
  Server dead;
  dead.kill();
  Server paused;
  paused.pause();
  // It appears as a server that has its lock but not yet a table.
  const Server starting;
  const std::string table = "/dev/shm/" + starting.name() + "-table";
  const auto set_state = [&](std::uint64_t state) {
    std::fstream file(table, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offsetof(RegionHeader, state));
    file.write(reinterpret_cast<const char*>(&state), sizeof state);
  };
  set_state(kRegionBuilding);
  const InputFile no_region("something of this name, but no region at all: longer than a header of 64 bytes is");
  const std::string other = unique_path() + "-table";
  std::rename(no_region.path().c_str(), other.c_str());

  const std::string owner = user_name(::geteuid());
  const Ran ran = hostmap(serving, {"ls"});
  EXPECT_EQ(ran.exit, kSuccess);
  EXPECT_EQ(ran.errors, "");
  const std::vector<std::string> lines = lines_of(ran.output);
  ASSERT_FALSE(lines.empty());
  for (const char* title : {"name", "state", "entries", "memory", "connections", "pid", "owner"}) {
    EXPECT_NE(lines[0].find(title), std::string::npos) << title;
  }
  const auto words_of = [&](const Server& server) {
    for (const std::string& line : lines) {
      if (!line.starts_with(server.name() + " ")) continue;
      std::istringstream words(line);
      return std::vector<std::string>(std::istream_iterator<std::string>(words), {});
    }
    return std::vector<std::string>();
  };
  const std::vector<std::string> shown = words_of(serving);
  ASSERT_EQ(shown.size(), 8u) << ran.output;
  EXPECT_EQ(shown[1], "serving");
  EXPECT_EQ(shown[2], "1");
  EXPECT_EQ(shown[5], "1");
  EXPECT_EQ(shown[6], std::to_string(serving.pid()));
  EXPECT_EQ(shown[7], owner);
  EXPECT_EQ(words_of(dead), (std::vector<std::string>{dead.name(), "dead", "-", "-", "-", "-", owner}));
  EXPECT_EQ(words_of(starting), (std::vector<std::string>{starting.name(), "starting", "-", "-", "-",
                                                          std::to_string(starting.pid()), owner}));
  ASSERT_GE(words_of(paused).size(), 2u);
  EXPECT_EQ(words_of(paused)[1], "stopped");
  EXPECT_EQ(ran.output.find(other.substr(9)), std::string::npos) << ran.output;

  EXPECT_EQ(*client.get("12345678"), "87654321") << "nobody was disturbed";
  remove_path(other);
  set_state(kRegionReady);
  paused.send(SIGCONT);
  dead.remove_regions();
}

TEST(CommandLine, LsDistinguishesServersThatAreKeptDeadAndServingAgain) {
  const std::string name = unique_name();
  const auto state = [&] {
    for (const std::string& line : lines_of(run({program("hostmap"), "ls"}).output)) {
      if (!line.starts_with(name + " ")) continue;
      const std::size_t begin = line.find_first_not_of(' ', name.size());
      return line.substr(begin, line.find(' ', begin) - begin);
    }
    return std::string("not listed");
  };
  {
    Server first({"10", "--keep"}, {.name = name});
    EXPECT_EQ(state(), "serving");
    EXPECT_EQ(first.stop(), kSuccess);
    EXPECT_EQ(state(), "kept");
  }
  {
    Server second({"10"}, {.name = name});
    EXPECT_EQ(state(), "serving");
    second.kill();
    EXPECT_EQ(state(), "dead") << "it was killed, though the map had been kept before";
  }
  Server third({"10"}, {.name = name});
  EXPECT_EQ(state(), "serving");
  third.pause();
  EXPECT_EQ(state(), "stopped");
  third.send(SIGCONT);
  expect_silence(hostmap(third, {"stop", "--keep"}));
  EXPECT_EQ(third.wait(), kSuccess);
  EXPECT_EQ(state(), "kept");
  third.remove_regions();
}

// A refused start does not change a kept map.
TEST(CommandLine, LsShowsAMapAsKeptAfterAStartThatFailed) {
  const std::string name = unique_name();
  {
    Server first({"10", "--keep"}, {.name = name});
    EXPECT_EQ(first.stop(), kSuccess);
  }
  const std::string alive = "/dev/shm/" + name + "-alive";
  remove_path(alive);
  std::filesystem::create_directory(alive);
  expect_refusal(run_server({"10"}, name), 1, {alive, "is a directory", "remove it"});
  std::filesystem::remove(alive);
  const Ran listed = run({program("hostmap"), "ls"});
  EXPECT_TRUE(shows(listed.output, name, "kept")) << listed.output;
  for (const std::string& file : files_of_instance(name)) remove_path("/dev/shm/" + file);
}

TEST(CommandLine, LsAsJsonHasNumbersWhereTheTableHasTextAndNullForWhatIsUnknown) {
  const Server serving({"10"});
  expect_silence(hostmap(serving, {"put", "key", "value"}));
  Server dead({"10"});
  dead.kill();
  const Ran ran = hostmap(serving, {"ls", "--json"});
  EXPECT_EQ(ran.exit, kSuccess) << ran.errors;
  EXPECT_TRUE(ran.output.starts_with("[\n  {") && ran.output.ends_with("}\n]\n")) << ran.output;
  const std::string owner = "\"owner\": \"" + user_name(::geteuid()) + "\"}";
  EXPECT_TRUE(std::regex_search(
      ran.output,
      std::regex("\\{\"name\": \"" + serving.name() +
                 "\", \"state\": \"serving\", \"entries\": 1, \"memory_bytes\": [0-9]+, \"connections\": 0, "
                 "\"pid\": " +
                 std::to_string(serving.pid()) + ", " + owner)))
      << ran.output;
  EXPECT_NE(
      ran.output.find("{\"name\": \"" + dead.name() +
                      "\", \"state\": \"dead\", \"entries\": null, \"memory_bytes\": null, \"connections\": null, "
                      "\"pid\": null, " +
                      owner),
      std::string::npos)
      << ran.output;
  dead.remove_regions();
}

TEST(CommandLine, LsWithoutInstancesReportsThat) {
  const std::string folder = unique_path();
  std::filesystem::create_directory(folder);
  expect_output(run({program("hostmap"), "--dir", folder, "ls"}), "no instances in " + folder + "\n");
  expect_output(run({program("hostmap"), "--dir", folder, "ls", "--json"}), "[]\n");
  remove_path(folder);
}

TEST(CommandLine, StatIsReadable) {
  const Server server;
  expect_silence(hostmap(server, {"put", "key", "value"}));
  const Ran ran = hostmap(server, {"stat"});
  EXPECT_EQ(ran.exit, kSuccess);
  for (const std::string& word :
       {server.name(), std::to_string(server.pid()), std::string("entries"), std::string("memory")}) {
    EXPECT_NE(ran.output.find(word), std::string::npos) << word;
  }
}

TEST(CommandLine, WaitEndsWhenTheKeyChangesOrIsAsWanted) {
  Server server({"10"});
  const auto after = [&](const std::vector<std::string>& waiting, const std::vector<std::string>& change) {
    Program waiter(command(server, waiting));
    while (server.stat("waited") == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    expect_silence(hostmap(server, change));
    const Exit exit = waiter.wait();
    EXPECT_EQ(waiter.errors(), "");
    return std::pair(exit, waiter.output());
  };
  using Outcome = std::pair<Exit, std::string>;
  const Outcome done(kSuccess, "");
  EXPECT_EQ(after({"wait", "key"}, {"put", "key", "first"}), Outcome(kSuccess, "first"));
  EXPECT_EQ(after({"wait", "key", "--timeout", "60"}, {"put", "key", "second"}), Outcome(kSuccess, "second"));
  EXPECT_EQ(after({"wait", "key", "--is", "third"}, {"put", "key", "third"}), done);
  EXPECT_EQ(after({"wait", "key", "--not", "third"}, {"put", "key", "fourth"}), done);
  EXPECT_EQ(after({"wait", "-x", "key", "--is", "\\x41"}, {"put", "key", "A"}), done);
  EXPECT_EQ(after({"wait", "key", "--absent"}, {"erase", "key"}), done);
  expect_silence(hostmap(server, {"put", "key", "x"}));
  Program ended(command(server, {"wait", "key"}));
  while (server.stat("waited") == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  expect_silence(hostmap(server, {"erase", "key"}));
  EXPECT_EQ(ended.wait(), exited(1));
  // At once, as it is so already.
  expect_silence(hostmap(server, {"wait", "key", "--absent"}));
  expect_silence(hostmap(server, {"wait", "key", "--not", "x"}));
  expect_silence(hostmap(server, {"put", "key", ""}));
  expect_silence(hostmap(server, {"wait", "key", "--is", ""}));
}

TEST(CommandLine, WaitTimesOutAndRefusesWhatItCannotDo) {
  const Server server({"10"});
  const auto expect_error = [&](const std::vector<std::string>& words, int code, const std::string& text) {
    const Ran ran = hostmap(server, words);
    EXPECT_EQ(ran.exit, exited(code));
    EXPECT_EQ(ran.output, "");
    EXPECT_NE(ran.errors.find(text), std::string::npos) << ran.errors;
    EXPECT_EQ(std::count(ran.errors.begin(), ran.errors.end(), '\n'), 1) << ran.errors;
  };
  expect_error({"wait", "key", "--timeout", "0.01"}, 5, "the key did not change");
  expect_error({"wait", "key", "--is", "x", "--timeout", "0.01"}, 5, "the key did not change");
  expect_error({"wait", ""}, 2, "KEY is empty");
  expect_error({"wait"}, 2, "KEY is required");
  expect_error({"wait", "key", "--is", "a", "--not", "b"}, 2, "--is excludes --not");
  expect_error({"wait", "key", "--is", "a", "--absent"}, 2, "--is excludes --absent");
  expect_error({"wait", "-x", "key", "--is", "\\xZZ"}, 2, "a backslash that does not begin");
  expect_error({"--read-only", "wait", "key"}, 4, "cannot register to be woken");
}

TEST(CommandLine, KeysThatEnd) {
  Server server({"10"});
  expect_silence(hostmap(server, {"put", "key", "value", "--ttl", "1h"}));
  expect_output(hostmap(server, {"get", "key"}), "value");
  const Ran left = hostmap(server, {"ttl", "key"});
  EXPECT_TRUE(std::regex_match(left.output, std::regex("3[56][0-9]{5}ms\n"))) << left.output;
  expect_silence(hostmap(server, {"put", "key", "other", "--keep-ttl"}));
  EXPECT_TRUE(hostmap(server, {"ttl", "key"}).output.ends_with("ms\n"));
  expect_silence(hostmap(server, {"persist", "key"}));
  expect_output(hostmap(server, {"ttl", "key"}), "forever\n");
  expect_silence(hostmap(server, {"expire", "key", "7d"}));
  EXPECT_TRUE(hostmap(server, {"ttl", "key"}).output.ends_with("ms\n"));
  expect_silence(hostmap(server, {"put", "key", "value", "--if-present", "--ttl", "2m"}));
  expect_silence(hostmap(server, {"expire", "key", "1ms"}));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(hostmap(server, {"get", "key"}).exit, exited(1));
  EXPECT_EQ(hostmap(server, {"ttl", "key"}).exit, exited(1));
  EXPECT_EQ(hostmap(server, {"expire", "key", "1h"}).exit, exited(1));
  for (const char* ttl : {"0s", "-1s", "5", "1.5s", "", "s", "1y", "9223372036854775807s", "\x01"}) {
    const Ran ran = hostmap(server, {"put", "key", "value", std::string("--ttl=") + ttl});
    EXPECT_EQ(ran.exit, exited(2)) << ttl;
    EXPECT_EQ(ran.output, "");
    EXPECT_EQ(std::count(ran.errors.begin(), ran.errors.end(), '\n'), 1) << ran.errors;
    expect_refusal(hostmap(server, {"expire", "--", "key", ttl}), 2, {"is not a time to live"});
  }
  EXPECT_EQ(hostmap(server, {"put", "key", "v", "--ttl", "1s", "--keep-ttl"}).exit, exited(2));
  EXPECT_EQ(hostmap(server, {"put", "key", "v", "--if-absent", "--keep-ttl"}).exit, exited(2));
  EXPECT_EQ(hostmap(server, {"exists", "key"}).exit, exited(1)) << "nothing was put";
}

}  // namespace
}  // namespace hostmap::test
