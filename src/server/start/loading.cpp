#include "server/start/loading.hpp"

#include <algorithm>
#include <chrono>
#include <poll.h>
#include <span>
#include <string>
#include <sys/stat.h>

#include "base/ends.hpp"
#include "dump/ends.hpp"
#include "dump/file.hpp"
#include "dump/reader.hpp"
#include "server/environment/notify.hpp"
#include "signal/termination.hpp"

namespace hostmap {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPollMs = 200;
constexpr std::chrono::seconds kLogPause{5};

Status refuse_if_signalled() {
  const int signal = take_stop_signal(std::chrono::nanoseconds(0));
  if (signal == 0) return {};
  return {StatusCode::kClosed, "signal " + std::to_string(signal) + " ended the start"};
}

class Loading {
 public:
  Loading(Table& table, const CheckedOptions& options, const Log& log) : table_(table), options_(options), log_(log) {}

  Status run() {
    Result<UniqueFd> file = open_dump(options_.load);
    if (!file) return file.status();
    file_ = std::move(*file);
    struct stat facts {};
    if (::fstat(file_.get(), &facts) == 0 && S_ISREG(facts.st_mode)) size_ = static_cast<std::uint64_t>(facts.st_size);
    DumpReader reader([this](std::span<char> room) { return read(room); });
    const Result<DumpHead> head = reader.read_head();
    if (!head) return head.status();
    for (;;) {
      report(size_ != 0 ? reader.bytes() : reader.records(), size_ != 0 ? size_ : head->keys_hint);
      const Result<std::span<const DumpRecord>> block = reader.next();
      if (!block) return block.status();
      if (block->empty()) break;
      const std::uint64_t now_ms = wall_clock_ms();
      for (const DumpRecord& record : *block) {
        if (Status status = put(record, now_ms); !status.ok()) return status;
      }
    }
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_).count();
    log_("loaded keys=" + std::to_string(keys_) + " lapsed=" + std::to_string(lapsed_) + " ms=" + std::to_string(ms) +
         " from " + options_.load);
    notify_service_manager("STATUS=");
    return {};
  }

 private:
  // Waits in parts, so that a pipe that gives nothing does not keep a signal waiting.
  Result<std::size_t> read(std::span<char> room) {
    for (;;) {
      pollfd ready{file_.get(), POLLIN, 0};
      const int count = ::poll(&ready, 1, kPollMs);
      if (Status status = refuse_if_signalled(); !status.ok()) return status;
      if (count > 0) return read_dump(file_.get(), room, options_.load);
    }
  }

  Status put(const DumpRecord& record, std::uint64_t now_ms) {
    if (record.value.size() > options_.max_value_bytes) {
      return {StatusCode::kInvalid, "a value of " + std::to_string(record.value.size()) +
                                        " bytes is longer than --max-value " + size_text(options_.max_value_bytes)};
    }
    const std::optional<std::chrono::milliseconds> ttl = ttl_of(record.end_ms, now_ms);
    if (!ttl) {
      ++lapsed_;
      return {};
    }
    std::uint32_t number = 0;
    const HashedKey key = table_.hash(std::as_bytes(std::span(record.key)), number);
    ShardWriter& shard = table_.shard(number);
    shard.begin_request();
    const StatusCode code = shard.put(key, std::as_bytes(std::span(record.value)), end_of_put(*ttl));
    shard.intent().end();
    shard.upkeep({});  // nobody waits for a change of it
    if (code != StatusCode::kOk) {
      return {code, "the map is full after " + std::to_string(keys_) + " keys; start with a larger --memory than " +
                        size_text(options_.memory)};
    }
    ++keys_;
    return {};
  }

  void report(std::uint64_t done, std::uint64_t all) {
    const auto percent = static_cast<std::uint32_t>(all == 0 ? 0 : std::min<std::uint64_t>(done * 100 / all, 100));
    if (percent == percent_) return;
    percent_ = percent;
    // relaxed: a number alone
    table_.header().phase.store(loading_phase(percent), std::memory_order_relaxed);
    const std::string text = "loading " + std::to_string(percent) + " %";
    // A large dump takes longer than a service manager waits for a start.
    notify_service_manager("STATUS=" + text + "\nEXTEND_TIMEOUT_USEC=120000000");
    if (Clock::now() < next_line_) return;
    next_line_ = Clock::now() + kLogPause;
    log_(text);
  }

  Table& table_;
  const CheckedOptions& options_;
  const Log& log_;
  UniqueFd file_;
  std::uint64_t size_ = 0;  // 0: of a pipe
  std::uint64_t keys_ = 0;
  std::uint64_t lapsed_ = 0;
  std::uint32_t percent_ = ~0U;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point next_line_ = begin_ + kLogPause;
};

}  // namespace

Status load_dump(Table& table, const CheckedOptions& options, const Log& log) {
  Status status = Loading(table, options, log).run();
  if (status.ok()) return status;
  return {status.code(), "--load " + options.load + ": " + std::string(status.message())};
}

}  // namespace hostmap
