// stat: the content and the counters of a server.
#include "client/statistics.hpp"

#include <ctime>
#include <fmt/format.h>

#include "all/help.hpp"
#include "base/platform.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "layout/table.hpp"
#include "output.hpp"

namespace hostmap::apps {

namespace {

std::string json_of(const Statistics& s) {
  JsonObject json;
  json.add("name", s.name);
  json.add("version", s.version);
  json.add("commit", s.commit);
  json.add("layout_version", s.layout_version);
  json.add("pid", s.pid);
  json.add("entries", s.entries);
  json.add("pair_keys", s.pair_keys);
  json.add("entry_keys", s.entry_keys);
  json.add("buckets", s.buckets);
  json.add("pair_buckets", s.pair_buckets);
  json.add("entry_buckets", s.entry_buckets);
  json.add("memory_bytes", s.memory_bytes);
  json.add("memory_limit_bytes", s.memory_limit_bytes);
  json.add("file_bytes", s.file_bytes);
  json.add("entry_bytes", s.entry_bytes);
  json.add("free_bytes", s.free_bytes);
  json.add("fragmented_bytes", s.fragmented_bytes);
  json.add("huge_page_bytes", s.huge_page_bytes);
  json.add("connections", s.connections);
  json.add("connected", s.connected);
  json.add("workers", s.workers);
  json.add("gets_by_ring", s.gets_by_ring);
  json.add("puts", s.puts);
  json.add("erases", s.erases);
  json.add("refused", s.refused);
  json.add("splits", s.splits);
  json.add("parks", s.parks);
  json.add("read_retries", s.read_retries);
  json.add("read_fallbacks", s.read_fallbacks);
  json.add("timeout_rescues", s.timeout_rescues);
  json.add("client_timeout_rescues", s.client_timeout_rescues);
  json.add("populate_failures", s.populate_failures);
  json.add("recoveries", s.recoveries);
  json.add("replayed", s.replayed);
  json.add("reaped", s.reaped);
  json.add("poisoned", s.poisoned);
  json.add("counted_since", s.counted_since);
  return json.text() + "\n";
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
         "more than --memory: a program has mapped and read the whole file; the next start returns the pages");
  }
  line("connections", grouped(s.connections),
       fmt::format("now; {} in all, {} ended without closing, {} closed for what they sent", grouped(s.connected),
                   grouped(s.reaped), grouped(s.poisoned)));
  line("puts", grouped(s.puts), fmt::format("{} refused", grouped(s.refused)));
  line("erases", grouped(s.erases));
  line("gets by ring", grouped(s.gets_by_ring), "direct gets are not counted");
  line("retries", grouped(s.read_retries),
       fmt::format("of direct gets, as clients report; {} went by ring", grouped(s.read_fallbacks)));
  if (s.timeout_rescues != 0)
    line("rescues", grouped(s.timeout_rescues), "sleeps of workers that only a timeout ended; please report this");
  if (s.client_timeout_rescues != 0)
    line("of clients", grouped(s.client_timeout_rescues), "waits that only a timeout ended, as clients report");
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
