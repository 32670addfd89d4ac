// scan_from: a scan in parts, each from a cursor to the next one.
#include <algorithm>

#include "client/impl.hpp"
#include "client/walk.hpp"

namespace hostmap {

namespace {

// A call ends after so many buckets, whatever it has found there.
constexpr std::uint64_t kFewestBuckets = 4096;
constexpr std::uint64_t kBucketsPerKey = 16;

}  // namespace

Result<std::uint64_t> Client::scan_part(std::uint64_t cursor, std::size_t limit, Bytes prefix, VisitOne each,
                                        void* target, bool values) {
  if (limit == 0) return Status(StatusCode::kInvalid, "the limit is 0; let a call visit 1 key or more");
  Impl& impl = *impl_;
  Deadline patience = impl.deadline();
  const Result<Session*> session = impl.current_with_own_writes(patience);
  if (!session) return session.status();
  TableScan scan((*session)->reader(), span_of(prefix));
  if (!scan.seek(cursor)) {
    return Status(StatusCode::kInvalid, "no scan of this map has returned this cursor; begin with the cursor 0");
  }
  const std::uint64_t most_buckets =
      kFewestBuckets + kBucketsPerKey * std::min<std::uint64_t>(limit, std::uint64_t{1} << 56);
  std::uint64_t visited = 0;
  std::uint64_t buckets = 0;
  std::string value;
  Status read;
  Status walked = walk(impl, *session, scan, [&](const TableScan& at) {
    const bool all = visit_items(impl, at, values, value, read,
                                 [&](std::string_view key, std::string_view found, std::uint64_t end) {
                                   ++visited;
                                   return each(target, key, found, end);
                                 });
    return all && visited < limit && ++buckets < most_buckets;
  });
  if (!walked.ok()) return walked;
  if (!read.ok()) return read;
  return scan.cursor();
}

}  // namespace hostmap
