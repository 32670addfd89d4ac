#include "dump/copy.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "dump/ends.hpp"

namespace hostmap {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kBatch = 1024;           // operations of one apply
constexpr std::uint64_t kKeysPerReport = 256;  // of a dump, between two calls of progress

// The same error, and what was done before it.
Status after(const Status& status, std::uint64_t keys) {
  return {status.code(), std::string(status.message()) + "; " + std::to_string(keys) +
                             (keys == 1 ? " key was" : " keys were") + " loaded before"};
}

class Loading {
 public:
  Loading(Client& client, DumpCount& count) : client_(client), count_(count), outcomes_(kBatch) {
    operations_.reserve(kBatch);
  }

  Status put_all(std::span<const DumpRecord> records) {
    while (!records.empty()) {
      const std::size_t size = std::min(records.size(), kBatch);
      if (Status status = put_batch(records.first(size)); !status.ok()) return status;
      records = records.subspan(size);
    }
    return {};
  }

 private:
  Status put_batch(std::span<const DumpRecord> records) {
    const std::uint64_t now = wall_clock_ms();
    operations_.clear();
    for (const DumpRecord& record : records) {
      if (const std::optional<milliseconds> ttl = ttl_of(record.end_ms, now)) {
        operations_.push_back(Operation::put(record.key, record.value, *ttl));
      } else {
        ++count_.lapsed;
      }
    }
    const Status applied = client_.apply(operations_, outcomes_);
    Status refused;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      if (outcomes_[i].status.ok()) {
        ++count_.keys;
      } else if (refused.ok()) {
        refused = outcomes_[i].status;
      }
    }
    return applied.ok() ? refused : applied;
  }

  Client& client_;
  DumpCount& count_;
  std::vector<Operation> operations_;
  std::vector<Outcome> outcomes_;
};

}  // namespace

Result<DumpCount> dump_map(Client& client, const std::string& name, const DumpWriter::Sink& sink,
                           const DumpProgress& progress) {
  const Result<std::uint64_t> size = client.size();
  if (!size) return size.status();
  DumpCount count;
  count.hint = *size;
  DumpWriter writer(sink);
  Status status = writer.begin({wall_clock_ms(), *size, name});
  if (!status.ok()) return status;
  const Status scanned = client.scan("", [&](std::string_view key, std::string_view value, milliseconds ttl) {
    DumpRecord record{key, value, {}};
    if (ttl != kForever) record.end_ms = wall_clock_ms() + static_cast<std::uint64_t>(ttl.count());
    status = writer.add(record);
    count.keys = writer.records();
    count.bytes = writer.bytes();
    if (status.ok() && count.keys % kKeysPerReport == 0) status = progress(count);
    return status.ok();
  });
  if (!status.ok()) return status;
  if (!scanned.ok()) return scanned;
  status = writer.finish();
  if (!status.ok()) return status;
  count.bytes = writer.bytes();
  return count;
}

Result<DumpCount> load_map(Client& client, DumpReader::Source source, const DumpProgress& progress) {
  DumpCount count;
  DumpReader reader(std::move(source));
  const Result<DumpHead> head = reader.read_head();
  if (!head) return head.status();
  count.hint = head->keys_hint;
  Loading loading(client, count);
  for (;;) {
    const Result<std::span<const DumpRecord>> block = reader.next();
    if (!block) return after(block.status(), count.keys);
    count.bytes = reader.bytes();
    if (block->empty()) return count;
    Status status = loading.put_all(*block);
    if (status.ok()) status = progress(count);
    if (!status.ok()) return after(status, count.keys);
  }
}

}  // namespace hostmap
