// check: the invariants of an instance's table, whether its server lives or has left it for the next one.
#include "table/read/check.hpp"

#include <fmt/format.h>

#include "client/session.hpp"
#include "commands.hpp"
#include "layout/table.hpp"
#include "output.hpp"
#include "shm/region.hpp"

namespace hostmap::apps {

int check(const InstanceName& name) {
  const Status server = check_server(name);
  if (!server.ok() && !(server == StatusCode::kNoServer)) return fail(server);
  const Result<Region> region = Region::attach(name.table(), RegionKind::kTable, Access::kReadOnly, name.trust());
  if (!region) return fail(server.ok() ? region.status() : server);
  const TableReader reader(region->data(), region->bytes());
  Output output;
  if (region->bytes() < sizeof(TableHeader) || !reader.plausible()) {
    output.write("the header of the table does not describe its file\n");
    return output.finish(kExitFalse);
  }
  const TableCheck::Report report = TableCheck(reader).run();
  if (report.closed) {
    return fail(fmt::format("the server '{}' ended during the check; start it again", name.name()), kExitNoServer);
  }
  for (const std::string& finding : report.findings) output.write(finding + "\n");
  if (!report.findings.empty()) return output.finish(kExitFalse);
  output.write(fmt::format("ok: {} entries in {} buckets checked", report.entries, report.buckets));
  if (report.busy_buckets != 0) {
    output.write(fmt::format("; {} buckets changed under every look and were not", report.busy_buckets));
  }
  if (!report.counts_compared) output.write("; counters not compared, because the map was written to meanwhile");
  if (!server.ok()) output.write("; no server runs, and the next one settles what was under way");
  output.write("\n");
  return output.finish();
}

}  // namespace hostmap::apps
