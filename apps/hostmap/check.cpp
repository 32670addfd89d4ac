// check: the invariants of an instance's table, whether its server is alive or has left the table for the next one.
#include "table/read/check.hpp"

#include <fmt/format.h>
#include <string>
#include <vector>

#include "client/session.hpp"
#include "commands.hpp"
#include "json.hpp"
#include "layout/table.hpp"
#include "output.hpp"
#include "shm/region.hpp"

namespace hostmap::apps {

namespace {

std::string json_of(const TableCheck::Report& report, bool server_runs) {
  std::vector<std::string> findings;
  for (const std::string& finding : report.findings) findings.push_back(json_text(finding));
  JsonObject json;
  json.add("ok", findings.empty());
  json.add("entries", report.entries);
  json.add("lapsed", report.lapsed);
  json.add("buckets", report.buckets);
  json.add("busy_buckets", report.busy_buckets);
  json.add("counts_compared", report.counts_compared);
  json.add("server_runs", server_runs);
  json.add_json("findings", findings.empty() ? "[]" : fmt::format("[{}]", fmt::join(findings, ", ")));
  return json.text() + "\n";
}

std::string text_of(const TableCheck::Report& report, bool server_runs) {
  std::string text;
  for (const std::string& finding : report.findings) text += finding + "\n";
  if (!text.empty()) return text;
  text = fmt::format("ok: {} entries in {} buckets checked", report.entries, report.buckets);
  if (report.lapsed != 0) text += fmt::format("; {} of them have lapsed and are not removed yet", report.lapsed);
  if (report.busy_buckets != 0) {
    text += fmt::format("; {} buckets changed in every attempt and were not checked", report.busy_buckets);
  }
  if (!report.counts_compared) text += "; counters not compared, because keys were added or removed during the check";
  if (!server_runs) text += "; no server runs, and the next one completes or undoes unfinished changes";
  return text + "\n";
}

}  // namespace

int check(const InstanceName& name, bool json) {
  const Status server = check_server(name);
  if (!server.ok() && !(server == StatusCode::kNoServer)) return fail(server);
  const Result<Region> region = Region::attach(name.table(), RegionKind::kTable, Access::kReadOnly, name.trust());
  if (!region) return fail(server.ok() ? region.status() : server);
  const TableReader reader(region->data(), region->bytes());
  TableCheck::Report report;
  if (region->bytes() < sizeof(TableHeader) || !reader.plausible()) {
    report.findings.emplace_back("the header of the table does not describe its file");
    report.counts_compared = false;
  } else {
    report = TableCheck(reader).run();
  }
  if (report.closed) {
    return fail(fmt::format("the server '{}' ended during the check; start it again", name.name()), kExitNoServer);
  }
  Output output;
  output.write(json ? json_of(report, server.ok()) : text_of(report, server.ok()));
  return output.finish(report.findings.empty() ? kExitDone : kExitFalse);
}

}  // namespace hostmap::apps
