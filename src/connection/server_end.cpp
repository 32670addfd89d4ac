#include "connection/server_end.hpp"

#include <climits>
#include <new>
#include <unistd.h>

#include "connection/wake_all.hpp"
#include "layout/connection.hpp"
#include "wait/futex.hpp"

namespace hostmap {

namespace {

void write_constants(ConnectionHeader& header, const ServerEnd::Identity& identity) noexcept {
  header.id = identity.id;
  header.serial = identity.serial;
  header.request_nonce = identity.request_nonce;
  header.answer_nonce = identity.answer_nonce;
  header.ring_bytes = identity.ring_bytes;
  header.lane_count = identity.lanes;
}

void wake(std::byte* memory, std::uint32_t channels) noexcept {
  auto& header = *reinterpret_cast<ConnectionHeader*>(memory);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // [connection.close-fence] seq_cst; pairs with [wait.client]
  wake_channels(memory, channels);
  header.server.opened.fetch_add(
      1, std::memory_order_release);  // [connection.close-opened] release; pairs with [channel.open-futex]
  futex_wake(header.server.opened, INT_MAX);
}

void close_and_wake(std::byte* memory, std::uint32_t channels) noexcept {
  // [connection.close] release; pairs with [connection.closed]
  reinterpret_cast<ConnectionHeader*>(memory)->server.closed.store(1, std::memory_order_release);
  wake(memory, channels);
}

}  // namespace

ServerEnd::ServerEnd(Region region, std::byte* memory, const Identity& identity) noexcept
    : region_(std::move(region)),
      guard_(region_),
      memory_(memory),
      header_(reinterpret_cast<ConnectionHeader*>(memory)),
      identity_(identity) {}

Result<std::unique_ptr<ServerEnd>> ServerEnd::create(const std::string& path, const Identity& identity,
                                                     std::uint64_t incarnation) {
  Result<Region> region = Region::create(path, connection_bytes(identity.lanes, identity.ring_bytes), 0600);
  if (!region) return region.status();
  NewName name(path);
  if (Status status = region->populate(0, connection_head_bytes(identity.lanes)); !status.ok()) return status;
  std::byte* memory = region->data();
  std::unique_ptr<ServerEnd> end(new ServerEnd(std::move(*region), memory, identity));
  end->region_.write_header(RegionKind::kConnection, incarnation);
  write_constants(*end->header_, identity);
  if (Status status = end->populate_channel(0); !status.ok()) return status;
  name.keep();
  end->region_.publish();
  return end;
}

Result<std::unique_ptr<ServerEnd>> ServerEnd::attach(const std::string& path, const Identity& identity,
                                                     std::uint64_t channels_open) {
  Result<Region> region = Region::open(path, RegionKind::kConnection, Access::kReadWrite);
  if (!region) return region.status();
  const Status foreign(StatusCode::kInvalid, path + " is another connection's");
  if (region->bytes() < connection_bytes(identity.lanes, identity.ring_bytes)) return foreign;
  std::byte* memory = region->data();
  std::unique_ptr<ServerEnd> end(new ServerEnd(std::move(*region), memory, identity));
  if (end->region_.given_up() || end->header_->serial != identity.serial || end->header_->id != identity.id) {
    return foreign;
  }
  end->channels_open_ = channels_open;
  // [channel.opened] release; pairs with [channel.open]: a kill may have come after the journal's store and before this one
  end->header_->server.channels_open.store(channels_open, std::memory_order_release);
  return end;
}

bool ServerEnd::give_up(const std::string& path, std::uint64_t inode, std::uint32_t lanes) noexcept {
  try {
    const std::uint64_t head = connection_head_bytes(lanes);
    Result<RegionFile> file = open_region_file(path, Access::kReadWrite);
    if (!file || inode == 0 || file->inode != inode) return false;
    // A truncated file gets the length of the head again, so that its client can see that the connection has ended.
    if (file->bytes < head && ::ftruncate(file->fd.get(), static_cast<off_t>(head)) == 0) file->bytes = head;
    Result<Region> region = Region::map_file(std::move(*file), path, Access::kReadWrite);
    if (!region || region->bytes() < head) return true;
    const BusGuard::Watch guard(*region);
    if (region->populate_quietly(0, head) == 0) close_and_wake(region->data(), 2 * lanes);
    region->unlink_name();
  } catch (const std::bad_alloc&) {
    // The region is unlinked as a stray. Its client detects the end by itself.
  }
  return true;
}

std::unique_ptr<ServerEnd> ServerEnd::over(std::byte* memory, const Identity& identity) {
  write_constants(*reinterpret_cast<ConnectionHeader*>(memory), identity);
  return std::unique_ptr<ServerEnd>(new ServerEnd(Region(), memory, identity));
}

Status ServerEnd::populate_channel(std::uint32_t channel) {
  const Identity& i = identity_;
  return region_.populate(request_ring_offset(channel, i.lanes, i.ring_bytes), 2 * i.ring_bytes);
}

// After the stores that they wait for.
void ServerEnd::wake_openers() noexcept {
  // [channel.opened] release; pairs with [channel.open-futex]
  header_->server.opened.fetch_add(1, std::memory_order_release);
  futex_wake(header_->server.opened, INT_MAX);
}

void ServerEnd::open_channel(std::uint32_t channel) noexcept {
  channels_open_ |= std::uint64_t{1} << channel;
  // [channel.opened] release; pairs with [channel.open]: the rings are populated, and swept
  header_->server.channels_open.store(channels_open_, std::memory_order_release);
  wake_openers();
}

void ServerEnd::refuse_channel(std::uint32_t channel) noexcept {
  channels_refused_ |= std::uint64_t{1} << channel;
  // relaxed: answer_wanted() publishes it
  header_->server.channels_refused.store(channels_refused_, std::memory_order_relaxed);
  // A client that counts no attempts waits for this.
  wake_openers();
}

std::uint64_t ServerEnd::all_channels() const noexcept {
  const std::uint64_t channels = 2 * identity_.lanes;
  return channels == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << channels) - 1;
}

std::uint64_t ServerEnd::channels_wanted() noexcept {
  // [channel.attempt] acquire; pairs with [channel.attempts]: the bits of this attempt are seen
  attempt_ = header_->client.channel_attempts.load(std::memory_order_acquire);
  if (attempt_ != attempt_answered_) {
    channels_refused_ = 0;
    header_->server.channels_refused.store(0, std::memory_order_relaxed);  // relaxed: answer_wanted() publishes it
  }
  // [channel.wanted] acquire; pairs with [channel.want]
  const std::uint64_t wanted = header_->client.channels_wanted.load(std::memory_order_acquire);
  return wanted & all_channels() & ~channels_open_ & ~channels_refused_;
}

void ServerEnd::answer_wanted() noexcept {
  if (attempt_ == attempt_answered_) return;
  attempt_answered_ = attempt_;
  // [channel.answer] release; pairs with [channel.answered]: channels_open and channels_refused are of this attempt
  header_->server.attempts_answered.store(attempt_, std::memory_order_release);
  wake_openers();
}

void ServerEnd::wake_sleepers() noexcept { wake(memory_, 2 * identity_.lanes); }

void ServerEnd::close() noexcept { close_and_wake(memory_, 2 * identity_.lanes); }

void close_left_over_connection(const Region& region) noexcept {
  if (region.bytes() < sizeof(ConnectionHeader)) return;
  const std::uint32_t lanes = region.at<ConnectionHeader>(0)->lane_count;
  if (lanes > kMaxLanes || region.bytes() < connection_head_bytes(lanes)) return;
  close_and_wake(region.data(), 2 * lanes);
}

}  // namespace hostmap
