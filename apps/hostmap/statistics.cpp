// stat: what a server holds and has done.
#include "client/statistics.hpp"

#include <ctime>
#include <fmt/format.h>
#include <utility>
#include <vector>

#include "all/help.hpp"
#include "base/platform.hpp"
#include "commands.hpp"
#include "layout/table.hpp"
#include "output.hpp"

namespace hostmap::apps {

namespace {

std::string json_of(const Statistics& s) {
  // A name is [A-Za-z0-9._-], and version and commit have no quotes: nothing in them needs escaping.
  std::string json =
      fmt::format("{{\n  \"name\": \"{}\",\n  \"version\": \"{}\",\n  \"commit\": \"{}\"", s.name, s.version, s.commit);
  const std::vector<std::pair<const char*, std::uint64_t>> numbers{{"layout_version", s.layout_version},
                                                                   {"pid", s.pid},
                                                                   {"entries", s.entries},
                                                                   {"pair_keys", s.pair_keys},
                                                                   {"entry_keys", s.entry_keys},
                                                                   {"buckets", s.buckets},
                                                                   {"pair_buckets", s.pair_buckets},
                                                                   {"entry_buckets", s.entry_buckets},
                                                                   {"memory_bytes", s.memory_bytes},
                                                                   {"memory_limit_bytes", s.memory_limit_bytes},
                                                                   {"file_bytes", s.file_bytes},
                                                                   {"entry_bytes", s.entry_bytes},
                                                                   {"free_bytes", s.free_bytes},
                                                                   {"fragmented_bytes", s.fragmented_bytes},
                                                                   {"huge_page_bytes", s.huge_page_bytes},
                                                                   {"connections", s.connections},
                                                                   {"connected", s.connected},
                                                                   {"workers", s.workers},
                                                                   {"gets_by_ring", s.gets_by_ring},
                                                                   {"puts", s.puts},
                                                                   {"erases", s.erases},
                                                                   {"refused", s.refused},
                                                                   {"splits", s.splits},
                                                                   {"parks", s.parks},
                                                                   {"read_retries", s.read_retries},
                                                                   {"read_fallbacks", s.read_fallbacks},
                                                                   {"timeout_rescues", s.timeout_rescues},
                                                                   {"client_timeout_rescues", s.client_timeout_rescues},
                                                                   {"populate_failures", s.populate_failures},
                                                                   {"recoveries", s.recoveries},
                                                                   {"replayed", s.replayed},
                                                                   {"reaped", s.reaped},
                                                                   {"poisoned", s.poisoned},
                                                                   {"counted_since", s.counted_since}};
  for (const auto& [key, number] : numbers) json += fmt::format(",\n  \"{}\": {}", key, number);
  return json + "\n}\n";
}

std::string local_time(std::uint64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  char text[32] = "an unknown time";
  if (::localtime_r(&time, &parts) != nullptr) std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string table_of(const Statistics& s) {
  std::string table = fmt::format("{} (pid {}, {} worker{})\n", s.name, s.pid, s.workers, s.workers == 1 ? "" : "s");
  const auto line = [&table](const char* what, const std::string& value, const std::string& more = {}) {
    std::string text = fmt::format("  {:<13}{:>14}  ", what, value);
    text += wrapped(more, text.size(), text.size());
    text.erase(text.find_last_not_of(' ') + 1);
    table += text + "\n";
  };
  line("version", s.version, fmt::format("commit {}, layout version {}", s.commit, s.layout_version));
  line("entries", grouped(s.entries),
       fmt::format("{} pairs, {} in the arena", grouped(s.pair_keys), grouped(s.entry_keys)));
  line("buckets", grouped(s.buckets),
       fmt::format("{} of pairs, {} of entries", grouped(s.pair_buckets), grouped(s.entry_buckets)));
  line(
      "memory", readable_bytes(s.memory_bytes),
      fmt::format("of {}; {} free for entries, {} fragmented, {} in 2 MiB pages", readable_bytes(s.memory_limit_bytes),
                  readable_bytes(s.free_bytes), readable_bytes(s.fragmented_bytes), readable_bytes(s.huge_page_bytes)));
  if (s.file_bytes > s.memory_limit_bytes + kHugePageSize) {
    line("file", readable_bytes(s.file_bytes),
         "more than --memory: a program has mapped the whole file and read it; the next start takes it back");
  }
  line("connections", grouped(s.connections),
       fmt::format("now; {} in all, {} ended without closing, {} closed for what they sent", grouped(s.connected),
                   grouped(s.reaped), grouped(s.poisoned)));
  line("puts", grouped(s.puts), fmt::format("{} refused", grouped(s.refused)));
  line("erases", grouped(s.erases));
  line("gets by ring", grouped(s.gets_by_ring), "direct gets are not counted");
  line("retries", grouped(s.read_retries),
       fmt::format("of direct gets, as clients say; {} went by ring", grouped(s.read_fallbacks)));
  if (s.timeout_rescues != 0)
    line("rescues", grouped(s.timeout_rescues), "sleeps of workers that only a timeout ended: please report this");
  if (s.client_timeout_rescues != 0)
    line("of clients", grouped(s.client_timeout_rescues), "waits that only a timeout ended, as clients say");
  if (s.populate_failures != 0) line("out of pages", grouped(s.populate_failures), "times the file system was full");
  return table + fmt::format("  All counts since {}, when the map was made.\n", local_time(s.counted_since));
}

}  // namespace

int stat(const InstanceName& name, bool json) {
  const Result<Statistics> statistics = collect_statistics(name);
  if (!statistics) return fail(statistics.status());
  Output output;
  output.write(json ? json_of(*statistics) : table_of(*statistics));
  return output.finish();
}

}  // namespace hostmap::apps
