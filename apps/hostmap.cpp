// hostmap: the command line. This file parses it; the commands are in apps/hostmap/.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hostmap/commands.hpp"
#include "hostmap/output.hpp"
#include <hostmap/client.hpp>

#include "all/arguments.hpp"
#include "all/help.hpp"
#include "all/print.hpp"
#include "all/standard_streams.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::apps;

// CLI11 interprets some words that are keys or values here: "++", and some after "--". A key or value may be any word, so
// these get a prefix that makes them ordinary words; unmarked() removes it.
constexpr char kMark = '\x01';

std::vector<std::string> marked(int argc, char** argv) {
  std::vector<std::string> words;
  bool only_words = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (!only_words && word == "--") {
      only_words = true;
    } else {
      words.push_back(only_words || word == "++" || word.starts_with(kMark) ? kMark + word : word);
    }
  }
  return {words.rbegin(), words.rend()};  // CLI11 takes them from the end
}

std::string unmarked(const std::string& word) { return !word.empty() && word[0] == kMark ? word.substr(1) : word; }

// Any word as printable text, for an error message.
std::string readable(std::string message) {
  std::erase(message, kMark);
  return escaped(message);
}

Status parse_timeout(const std::string& text, std::chrono::nanoseconds& timeout) {
  constexpr double kLeast = 0.001;
  constexpr double kMost = 1e6;
  double seconds = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, seconds);
  if (error != std::errc() || rest != end || !(seconds >= kLeast && seconds <= kMost)) {
    return {StatusCode::kInvalid, fmt::format("--timeout '{}' is not a number of seconds from 0.001 to 1000000",
                                              readable(text.substr(0, 80)))};
  }
  timeout = std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
  return {};
}

// "30s", "1500ms", "5m", "2h", "7d".
Status parse_time(const std::string& text, std::chrono::milliseconds& time, std::string_view what,
                  std::string_view other = "") {
  constexpr std::pair<std::string_view, std::int64_t> kUnits[] = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  const auto* const unit =
      std::ranges::find(kUnits, std::string_view(rest, end), &std::pair<std::string_view, std::int64_t>::first);
  if (error != std::errc() || number <= 0 || unit == std::end(kUnits) || number > kMost / unit->second) {
    return {StatusCode::kInvalid,
            fmt::format("'{}' is not {}; give a whole number above 0 and its unit, as in 1500ms, 30s, 5m, 2h or 7d{}",
                        readable(text.substr(0, 80)), what, other)};
  }
  time = std::chrono::milliseconds(number * unit->second);
  return {};
}

// The same, or "forever".
Status parse_ttl(const std::string& text, std::chrono::milliseconds& ttl) {
  if (text != "forever") return parse_time(text, ttl, "a time to live", ", or forever");
  ttl = kForever;
  return {};
}

struct Arguments {
  Options options;
  std::string timeout = "5";
  std::string key;
  std::string value;
  std::string by = "1";
  std::string initial = "0";
  std::string prefix;
  bool by_prefix = false;  // of erase
  bool in_parts = false;   // of scan
  std::string cursor = "0";
  std::string limit = "1000";
  std::string size;
  std::string file;
  std::string every;
  std::string ttl = "forever";
  std::string command;  // whose help is shown
  ScanFormat format;
  Condition condition;
  Awaited awaited;
  CLI::Option* timeout_option = nullptr;
  bool token = false;
  bool keep_ttl = false;
  bool escaped = false;
  bool json = false;
  bool keep = false;
  bool drop = false;
};

CLI::App* add_command(CLI::App& app, const char* name, const char* description, const char* example) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer(example);
  return command;
}

void describe_options(CLI::App& app, Arguments& arguments) {
  add_help_and_version(app);
  app.add_option("--name", arguments.options.name, "name of the instance (default: distributed-memory)")
      ->type_name("NAME");
  app.add_option("--dir", arguments.options.dir, "folder of the shared memory files (default: /dev/shm)")
      ->type_name("DIR");
  app.add_option("--group", arguments.options.group,
                 "trust servers of other users that share their map with this group")
      ->type_name("GROUP");
  app.add_option("--user", arguments.options.user,
                 "trust servers of this user; without it, only those of root and of your own user")
      ->type_name("USER");
  app.add_flag("--read-only", arguments.options.read_only,
               "read the table only and open no connection (get, exists, ttl, scan, dump, save)");
  app.add_flag("--wait", arguments.options.wait_for_server, "if no server runs, wait for one until the timeout");
  arguments.timeout_option =
      app.add_option("--timeout", arguments.timeout, "longest time to wait (default: 5; of wait: without end)")
          ->type_name("SECONDS");
  app.footer(
      "A KEY or VALUE that begins with '-' must follow '--'. `hostmap help COMMAND` shows an example.\n"
      "Exit codes: 0 done, 1 not found or false, 2 usage, 3 no server, 4 refused, 5 timed out, 6 other layout "
      "version.");
  app.require_subcommand(0, 1);  // main reports a missing one: CLI11 would not name an unknown one
  app.fallthrough();

  CLI::App* put = add_command(app, "put", "Sets KEY to VALUE. If VALUE is -, it is read from standard input",
                              "hostmap put greeting hello");
  CLI::App* get =
      add_command(app, "get", "Prints the value of KEY. The bytes are not changed; a terminal gets a newline",
                  "hostmap get greeting > file");
  CLI::App* append = add_command(app, "append",
                                 "Appends VALUE to the value of KEY, and prints the new size in bytes. An absent KEY "
                                 "counts as an empty value. If VALUE is -, it is read from standard input",
                                 "hostmap append log 'a line;'");
  CLI::App* exchange = add_command(app, "exchange",
                                   "Sets KEY to VALUE and prints the value that this replaced; nothing if KEY was "
                                   "absent. If VALUE is -, it is read from standard input",
                                   "hostmap exchange owner $$");
  CLI::App* take = add_command(app, "take", "Removes KEY and prints the value that it had; one command alone gets it",
                               "hostmap take job-17");
  CLI::App* expire = add_command(app, "expire", "Lets KEY live for TTL from now on, and be absent after it",
                                 "hostmap expire greeting 30s");
  CLI::App* persist = add_command(app, "persist", "Lets KEY stay until it is erased", "hostmap persist greeting");
  CLI::App* ttl =
      add_command(app, "ttl", "Prints how long KEY still lives, in milliseconds, or forever", "hostmap ttl greeting");
  CLI::App* wait =
      add_command(app, "wait",
                  "Sleeps until KEY changes, and prints its new value; or until it is as an option says, "
                  "which may be so already. Exits with 5 when --timeout has passed, and with 1 when KEY has "
                  "become absent and no option is given",
                  "hostmap wait state --is ready --timeout 30");
  CLI::App* erase =
      add_command(app, "erase", "Removes KEY, or all keys that begin with PREFIX, and prints how many those were",
                  "hostmap erase greeting");
  CLI::App* exists = add_command(app, "exists", "Exits with 0 if KEY exists, with 1 if not",
                                 "if hostmap exists greeting; then echo yes; fi");
  CLI::App* incr =
      add_command(app, "incr",
                  "Adds BY (default: 1) to the number that is the value of KEY, and prints the sum. With a "
                  "fraction, such as 0.25, numbers are doubles",
                  "hostmap incr requests --ttl 1m");
  CLI::App* scan = add_command(app, "scan",
                               "Prints the keys that begin with PREFIX, one a line, in no order. Unprintable bytes and "
                               "the backslash are printed as \\xNN; a UTF-8 terminal gets its own characters unchanged",
                               "hostmap scan user: --values");
  add_command(app, "clear", "Removes all keys", "hostmap --name scratch clear");
  CLI::App* stat = add_command(app, "stat", "Prints the statistics of a server", "hostmap stat --json");
  CLI::App* ls = add_command(app, "ls", "Lists the instances in the folder", "hostmap ls");
  add_command(app, "ping", "Sends one request to the server and waits for the answer",
              "hostmap --timeout 1 ping && echo it answers");
  CLI::App* stop = add_command(app, "stop", "Stops the server, as SIGTERM does, and waits until it has ended",
                               "hostmap --name scratch stop");
  CLI::App* check =
      add_command(app, "check", "Verifies the table of a running server, or of one that has ended", "hostmap check");
  CLI::App* limit = add_command(app, "limit",
                                "Prints the memory limit of a map, the memory that it has taken, and the size up to "
                                "which the limit can be raised; "
                                "or sets the limit to SIZE, with or without a running server",
                                "hostmap --name sessions limit 3G");
  CLI::App* dump = add_command(app, "dump",
                               "Writes all keys and values to FILE, which appears when it is complete; to standard "
                               "output if FILE is -",
                               "hostmap dump - | hostmap --name copy load -");
  CLI::App* load = add_command(app, "load",
                               "Puts the keys and values of a dump into the map, over those that it has. If FILE is -, "
                               "the dump is read from standard input",
                               "hostmap load sessions.dump");
  CLI::App* save =
      add_command(app, "save", "Dumps to FILE, with --every again and again: the file is always a complete dump",
                  "hostmap save sessions.dump --every 5m");
  CLI::App* help = add_command(app, "help", "Prints this help, or the help of COMMAND", "hostmap help put");

  for (CLI::App* command : {put, append, exchange, get, take, expire, persist, ttl, wait, exists, incr}) {
    command->add_option("KEY", arguments.key, "1 to 65,536 bytes")->required();
  }
  CLI::Option* erased = erase->add_option("KEY", arguments.key, "1 to 65,536 bytes");
  CLI::Option* erased_prefix =
      erase->add_option("--prefix", arguments.prefix, "first bytes of the keys to remove; 1 byte or more")
          ->type_name("PREFIX")
          ->excludes(erased);
  erase->final_callback([&arguments, erased, erased_prefix] {
    arguments.by_prefix = erased_prefix->count() != 0;
    if (!arguments.by_prefix && erased->count() == 0) throw CLI::RequiredError("KEY or --prefix");
  });
  for (CLI::App* command : {put, append, exchange, get, take, expire, persist, ttl, wait, erase, exists, incr, scan}) {
    command->add_flag("-x,--escaped", arguments.escaped,
                      "read \\xNN in KEY, VALUE and PREFIX as the byte NN, as scan prints it");
  }
  for (CLI::App* command : {put, append, exchange}) {
    command->add_option("VALUE", arguments.value, "any bytes; - for standard input")->required();
  }
  CLI::Option* if_absent = put->add_flag("--if-absent", arguments.condition.absent, "only if KEY does not exist");
  CLI::Option* if_present = put->add_flag("--if-present", arguments.condition.present, "only if KEY exists");
  if_absent->excludes(if_present);
  CLI::Option* if_token = put->add_option("--if-token", arguments.condition.token,
                                          "only if the value of KEY still has this token, which get --token printed")
                              ->type_name("TOKEN")
                              ->excludes(if_absent)
                              ->excludes(if_present);
  CLI::Option* if_value =
      put->add_option("--if-value", arguments.condition.value, "only if the value of KEY is OLD, byte for byte")
          ->type_name("OLD")
          ->excludes(if_absent)
          ->excludes(if_present)
          ->excludes(if_token);
  CLI::Option* lives =
      put->add_option("--ttl", arguments.ttl, "how long KEY lives: 1500ms, 30s, 5m, 2h, 7d (default: forever)")
          ->type_name("TTL")
          ->excludes(if_token)
          ->excludes(if_value);
  put->add_flag("--keep-ttl", arguments.keep_ttl,
                "KEY lives as long as it would have; with --if-token and --if-value it always does")
      ->excludes(lives)
      ->excludes(if_absent);
  expire->add_option("TTL", arguments.ttl, "1500ms, 30s, 5m, 2h, 7d, or forever")->required();
  CLI::Option* erased_token =
      erase
          ->add_option("--if-token", arguments.condition.token,
                       "only if the value of KEY still has this token, which get --token printed")
          ->type_name("TOKEN")
          ->excludes(erased_prefix);
  erase->add_option("--if-value", arguments.condition.value, "only if the value of KEY is OLD, byte for byte")
      ->type_name("OLD")
      ->excludes(erased_prefix)
      ->excludes(erased_token);
  CLI::Option* awaited =
      wait->add_option("--is", arguments.awaited.value, "until the value of KEY is VALUE")->type_name("VALUE");
  CLI::Option* other =
      wait->add_option("--not", arguments.awaited.other_than, "until KEY has another value than VALUE, or is absent")
          ->type_name("VALUE")
          ->excludes(awaited);
  wait->add_flag("--absent", arguments.awaited.absent, "until KEY does not exist")->excludes(awaited)->excludes(other);
  get->add_flag("--token", arguments.token,
                "print the token of the value, too, as a line on standard error: 32 hexadecimal digits");
  incr->add_option("BY", arguments.by, "a decimal number, may be negative or a fraction");
  incr->add_option("--initial", arguments.initial, "what an absent KEY counts as (default: 0)")->type_name("N");
  incr->add_option("--ttl", arguments.ttl,
                   "how long KEY lives if it is new: 1500ms, 30s, 5m, 2h, 7d (default: forever)")
      ->type_name("TTL");
  scan->add_option("PREFIX", arguments.prefix, "first bytes of the keys (default: all keys)");
  scan->add_flag("--values", arguments.format.values, "print a tab and the value after each key");
  CLI::Option* cursor =
      scan->add_option(
              "--cursor", arguments.cursor,
              "print only some keys, and in the last line the cursor from which the next call continues, 0 at the "
              "end; begin with 0")
          ->type_name("N");
  CLI::Option* most =
      scan->add_option("--limit", arguments.limit, "with --cursor, or from 0: about how many keys (default: 1000)")
          ->type_name("N");
  scan->final_callback([&arguments, cursor, most] { arguments.in_parts = cursor->count() + most->count() != 0; });
  scan->add_flag("-0", arguments.format.raw, "print the bytes of keys and values unchanged, a NUL byte after each");
  CLI::Option* keep =
      stop->add_flag("--keep", arguments.keep, "keep the map for the next server; connected clients wait for it");
  stop->add_flag("--drop", arguments.drop, "remove the map, even if the server was started with --keep")
      ->excludes(keep);
  for (CLI::App* command : {stat, ls, check}) command->add_flag("--json", arguments.json, "print JSON, for programs");
  limit->add_option("SIZE", arguments.size, "the new limit: bytes, or a number with K, M or G");
  dump->add_option("FILE", arguments.file, "a file, or - for standard output")->required();
  load->add_option("FILE", arguments.file, "a file that dump or save wrote, or - for standard input")->required();
  save->add_option("FILE", arguments.file, "a file")->required();
  save->add_option("--every", arguments.every,
                   "save again after this time: 30s, 5m, 2h; ends with exit code 0 at SIGTERM, SIGINT or SIGHUP")
      ->type_name("TIME");
  help->add_option("COMMAND", arguments.command, "a command of this list");
}

bool is_command(const CLI::App& app, const std::string& word) {
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  return std::ranges::any_of(commands, [&](const CLI::App* command) { return command->get_name() == word; });
}

int help(const CLI::App& app, const std::string& command) {
  // app.help() would show the help of the given command, which is "help".
  if (command.empty()) return print("hostmap", app.get_formatter()->make_help(&app, "", CLI::AppFormatMode::Normal));
  if (!is_command(app, command)) {
    return fail(fmt::format("there is no command '{}'; see hostmap --help", readable(command.substr(0, 80))),
                kExitUsage);
  }
  return print("hostmap", app.get_subcommand(command)->help());
}

// One sentence that says what is wrong with the words.
int complain(const CLI::App& app, const CLI::ParseError& error) {
  const auto commands = app.get_subcommands();
  const std::string help = commands.empty() ? "hostmap --help" : "hostmap " + commands.front()->get_name() + " --help";
  std::string what = readable(error.what());
  // CLI11 reports what is missing before what is unknown, and several unknown words in no useful order.
  if (const std::vector<std::string> unknown = app.remaining(true); !unknown.empty()) {
    const std::string word = readable(unknown.front().substr(0, 80));
    what = commands.empty() && !word.starts_with('-') && !is_command(app, word)
               ? fmt::format("there is no command '{}'", word)
               : fmt::format("'{}' was not expected here", word);
  }
  return fail(fmt::format("{}; see {}", what, help), kExitUsage);
}

// What --read-only excludes of a command that is not a call of a Client; a read-only Client refuses its calls by itself.
std::string excluded_by_read_only(const std::string& command, const Arguments& arguments) {
  if (!arguments.options.read_only) return {};
  if (command == "ping") return "ping sends a request";
  if (command == "load") return "load changes the map";
  if (command == "limit" && !arguments.size.empty()) return "limit SIZE changes the map";
  if (command == "stop") return "stop ends the server";
  return {};
}

int run(const std::string& command, Arguments& arguments) {
  Options& options = arguments.options;
  options.name = unmarked(options.name);
  options.dir = unmarked(options.dir);
  options.group = unmarked(options.group);
  options.user = unmarked(options.user);
  std::string key = unmarked(arguments.key);
  std::string value = unmarked(arguments.value);
  std::string prefix = unmarked(arguments.prefix);
  const bool from_input = value == "-";  // as written: \x2d is a value
  Awaited& awaited = arguments.awaited;
  std::vector<std::string*> words{&key, &value, &prefix};
  for (std::optional<std::string>* word : {&awaited.value, &awaited.other_than, &arguments.condition.value}) {
    if (!*word) continue;
    *word = unmarked(**word);
    words.push_back(&**word);
  }
  if (arguments.escaped) {
    for (std::string* word : words) {
      const std::optional<std::string> bytes = unescaped(*word);
      if (!bytes) {
        return fail(fmt::format("'{}' has a backslash that does not begin \\xNN; write a backslash as \\x5c",
                                readable(word->substr(0, 80))),
                    kExitUsage);
      }
      *word = *bytes;
    }
  }
  if (const Status status = parse_timeout(unmarked(arguments.timeout), options.timeout); !status.ok()) {
    return fail(status.message(), kExitUsage);
  }
  const Result<InstanceName> instance = InstanceName::parse(options.name, options.dir, options.group, options.user);
  if (!instance) return fail(instance.status().message(), kExitUsage);
  if (const std::string excluded = excluded_by_read_only(command, arguments); !excluded.empty()) {
    return fail(fmt::format("{}, which --read-only does not allow; leave --read-only out", excluded), kExitUsage);
  }
  std::chrono::milliseconds ttl{};
  if (const Status status = parse_ttl(unmarked(arguments.ttl), ttl); !status.ok()) {
    return fail(status.message(), kExitUsage);
  }

  const Value given = from_input ? Value() : Value(value);
  Condition& condition = arguments.condition;
  if (condition.token) condition.token = unmarked(*condition.token);
  if (command == "put") return put(options, key, given, condition, arguments.keep_ttl ? kKeepTtl : ttl);
  if (command == "append") return append(options, key, given);
  if (command == "exchange") return exchange(options, key, given);
  if (command == "get") return get(options, key, arguments.token);
  if (command == "take") return take(options, key);
  if (command == "erase" && arguments.by_prefix) return erase_prefix(options, prefix);
  if (command == "expire" || command == "persist") return expire(options, key, ttl);
  if (command == "ttl") return hostmap::apps::ttl(options, key);
  if (command == "wait") {
    return hostmap::apps::wait(options, key, awaited,
                               arguments.timeout_option->count() != 0 ? options.timeout : Options::kForever);
  }
  if (command == "erase") return erase(options, key, condition);
  if (command == "exists") return exists(options, key);
  if (command == "incr") {
    return increment(options, key, unmarked(arguments.by), unmarked(arguments.initial), ttl);
  }
  if (command == "scan" && arguments.in_parts) {
    return scan_part(options, prefix, arguments.format, unmarked(arguments.cursor), unmarked(arguments.limit));
  }
  if (command == "scan") return scan(options, prefix, arguments.format);
  if (command == "clear") return clear(options);
  const std::string file = unmarked(arguments.file);
  if (command == "dump") return dump(options, file);
  if (command == "load") return load(options, file);
  if (command == "save") {
    std::optional<std::chrono::milliseconds> every;
    if (!arguments.every.empty()) {
      if (const Status status = parse_time(unmarked(arguments.every), every.emplace(), "a time between two saves");
          !status.ok()) {
        return fail(status.message(), kExitUsage);
      }
    }
    return save(options, file, every);
  }
  if (command == "stat") return stat(*instance, arguments.json);
  if (command == "ls") return list(*instance, options, arguments.json);
  if (command == "ping") return ping(options);
  if (command == "limit") return limit(*instance, unmarked(arguments.size));
  if (command == "stop") {
    const TerminationWish wish = arguments.keep ? kWishKeep : arguments.drop ? kWishDrop : kWishNothing;
    return stop(*instance, wish, options.timeout);
  }
  return check(*instance, arguments.json);
}

}  // namespace

int main(int argc, char** argv) {
  guard_standard_streams(kExitRefused);
  Arguments arguments;
  CLI::App app{"Reads and changes the hash maps that hostmap-server keeps in shared memory.", "hostmap"};
  describe_options(app, arguments);
  if (const std::string option = option_without_value(app, argc, argv); !option.empty()) {
    return fail(fmt::format("{} needs a value; see hostmap --help", option), kExitUsage);
  }
  try {
    app.parse(marked(argc, argv));
  } catch (const CLI::CallForHelp&) {
    return print("hostmap", app.help());
  } catch (const CLI::CallForVersion& version) {
    return print("hostmap", version.what());
  } catch (const CLI::ParseError& error) {
    return complain(app, error);
  }
  if (app.get_subcommands().empty())
    return fail("a command is required, as in: hostmap get KEY; see hostmap --help", kExitUsage);
  const std::string command = app.get_subcommands().front()->get_name();
  try {
    return command == "help" ? help(app, unmarked(arguments.command)) : run(command, arguments);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kExitRefused);
  }
}
