#include "server/run/idle_channels.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "layout/master.hpp"
#include "server/run/channel.hpp"

namespace hostmap {

IdleChannels::IdleChannels(std::size_t most) { channels_.reserve(most); }

IdleChannels::~IdleChannels() = default;

std::size_t IdleChannels::bucket_of(const ServerEnd& end) noexcept { return end.identity().id % kIdleBuckets; }

void IdleChannels::add(std::unique_ptr<ServerChannel> channel) noexcept {
  Bucket& bucket = buckets_[bucket_of(*channel->end)];
  IdlePlace& place = channel->idle;
  place.index = channels_.size();
  if (bucket.size++ == 0) {
    bucket.first = place.next = place.previous = channel.get();
  } else {
    place.next = bucket.first;
    place.previous = bucket.first->idle.previous;
    place.previous->idle.next = channel.get();
    place.next->idle.previous = channel.get();
  }
  channels_.push_back(std::move(channel));
}

std::unique_ptr<ServerChannel> IdleChannels::take(std::size_t index) noexcept {
  std::unique_ptr<ServerChannel> channel = std::move(channels_[index]);
  channels_[index] = std::move(channels_.back());
  channels_.pop_back();
  if (index < channels_.size()) channels_[index]->idle.index = index;
  // The channel that has moved here has not been polled in this turn.
  if (index + 1 == next_) --next_;
  Bucket& bucket = buckets_[bucket_of(*channel->end)];
  const IdlePlace place = std::exchange(channel->idle, {});
  place.previous->idle.next = place.next;
  place.next->idle.previous = place.previous;
  if (bucket.first == channel.get()) bucket.first = place.next;
  if (--bucket.size == 0) bucket.first = nullptr;
  bucket.unpolled = std::min(bucket.unpolled, bucket.size);
  return channel;
}

ServerChannel* IdleChannels::find(const ServerEnd& end) const noexcept {
  const Bucket& bucket = buckets_[bucket_of(end)];
  ServerChannel* channel = bucket.first;
  for (std::uint32_t i = 0; i < bucket.size; ++i, channel = channel->idle.next) {
    if (channel->end == &end) return channel;
  }
  return nullptr;
}

void IdleChannels::take_hints(IdleHints& hints) noexcept {
  for (std::uint32_t i = 0; i < hinted_.size(); ++i) {
    // relaxed: a bit that is set now is seen in the next sweep
    if (hints.words[i].load(std::memory_order_relaxed) == 0) continue;
    // [idle.take] acquire; pairs with [ring.publish]: the client had the kernel set the bit after it
    std::uint32_t bits = hints.words[i].exchange(0, std::memory_order_acquire);
    hinted_[i] |= bits;
    for (; bits != 0; bits &= bits - 1) {
      Bucket& bucket = buckets_[i * 32 + static_cast<std::uint32_t>(std::countr_zero(bits))];
      bucket.unpolled = bucket.size;
    }
  }
}

ServerChannel* IdleChannels::next_hinted() noexcept {
  // Each word once, starting with that of next_bucket_, whose lower bits come last.
  for (std::uint32_t i = 0; i <= hinted_.size(); ++i) {
    const std::uint32_t word = (next_bucket_ / 32 + i) % static_cast<std::uint32_t>(hinted_.size());
    std::uint32_t bits = hinted_[word];
    if (i == 0) bits &= ~std::uint32_t{0} << next_bucket_ % 32;
    for (; bits != 0; bits &= bits - 1) {
      const auto bit = static_cast<std::uint32_t>(std::countr_zero(bits));
      Bucket& bucket = buckets_[word * 32 + bit];
      if (bucket.unpolled <= 1) hinted_[word] &= ~(std::uint32_t{1} << bit);
      if (bucket.unpolled == 0) continue;
      --bucket.unpolled;
      next_bucket_ = (word * 32 + bit + 1) % kIdleBuckets;
      return std::exchange(bucket.first, bucket.first->idle.next);
    }
  }
  return nullptr;
}

ServerChannel& IdleChannels::next_in_turn() noexcept {
  if (next_ >= channels_.size()) next_ = 0;
  return *channels_[next_++];
}

}  // namespace hostmap
