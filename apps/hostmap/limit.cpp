// limit: the memory limit of a map. It is a word of the table, which the server reads whenever the map grows: the user who may
// write the file changes it, whether a server runs or not, and wherever it runs.
#include <cstdint>
#include <fmt/format.h>
#include <string>

#include "all/numbers.hpp"
#include "commands.hpp"
#include "layout/table.hpp"
#include "output.hpp"
#include "shm/obstacle.hpp"
#include "shm/region.hpp"
#include "table/read/reader.hpp"

namespace hostmap::apps {

namespace {

int cannot_open(const InstanceName& name, const Status& why) {
  if (why == StatusCode::kNoServer) {
    return fail(fmt::format("there is no map '{}' in {}; see which there are: hostmap --dir {} ls", name.name(),
                            name.dir(), name.dir()),
                kExitNoServer);
  }
  if (why == StatusCode::kPermission) {
    // Readable for the group that shares the map, but not writable?
    const Result<RegionFile> readable = open_region_file(name.table(), Access::kReadOnly, name.trust());
    if (readable) {
      return fail(fmt::format("only {}, to whom the map '{}' belongs, can change its limit; run hostmap limit as that "
                              "user",
                              user_name(readable->owner), name.name()),
                  kExitRefused);
    }
  }
  return fail(why);
}

std::string line(const char* what, std::uint64_t bytes) {
  return fmt::format("{:<8} {:>15}  {}\n", what, bytes, readable_bytes(bytes));
}

}  // namespace

int limit(const InstanceName& name, const std::string& size) {
  const bool sets = !size.empty();
  std::uint64_t wanted = 0;
  if (sets) {
    const Result<std::uint64_t> parsed = parse_size(size);
    if (!parsed) return fail(fmt::format("SIZE {}", parsed.status().message()), kExitUsage);
    wanted = *parsed;
  }
  const Result<Region> region =
      Region::attach(name.table(), RegionKind::kTable, sets ? Access::kReadWrite : Access::kReadOnly, name.trust());
  if (!region) return cannot_open(name, region.status());
  if (region->bytes() < sizeof(TableHeader) || !TableReader(region->data(), region->bytes()).plausible()) {
    return fail("the header of the table does not describe its file; stop its server and start it again", kExitRefused);
  }
  TableHeader& header = *region->at<TableHeader>(0);
  const std::uint64_t used = header.server_stats.memory_bytes.load(std::memory_order_relaxed);  // relaxed: a figure
  Output output;
  if (!sets) {
    output.write(line("limit", memory_limit_of(header)) + line("used", used) + line("maximum", header.max_memory));
    return output.finish();
  }
  if (wanted < kLeastMemory) {
    return fail(fmt::format("SIZE {} is below {}, the least memory of a map", wanted, kLeastMemory), kExitUsage);
  }
  if (wanted > header.max_memory) {
    return fail(
        fmt::format("SIZE {} is above {}, the maximum of this map, which was fixed when it was created; for more, "
                    "start a server with a larger --max-memory and an empty map (--fresh, or another --name)",
                    wanted, header.max_memory),
        kExitUsage);
  }
  header.memory_limit.store(wanted,
                            std::memory_order_relaxed);  // relaxed: a number; nothing else is read because of it
  if (wanted < used) {
    output.write(
        fmt::format("the map has taken {} already, more than this limit: nothing is thrown away, but the map "
                    "grows no further, and writes that need more room than there is are refused\n",
                    readable_bytes(used)));
  }
  return output.finish();
}

}  // namespace hostmap::apps
