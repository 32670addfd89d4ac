// A restart with regions that are damaged at random: it refuses or repairs them, and the server that takes them over serves,
// checks and restarts once more. It never crashes, loops, or reads a byte outside of the regions.
//
// An input is a list of damages to the image of an instance that a kill has left. Heads have checksums, so most damage to
// them ends there; against damage of everything else there are only the bounds with which a restart compares it.
#include <cstdlib>
#include <stdexcept>

#include "layout/table.hpp"
#include "server/restart_fixture.hpp"

namespace hostmap::test {
namespace {

struct Damage {
  std::uint8_t part;
  std::uint8_t kind;
  std::uint8_t unused[2];
  std::uint32_t where;
  std::uint64_t value;
};
static_assert(sizeof(Damage) == 16);

std::string key_of(std::uint64_t i) { return i % 2 == 0 ? text_of(i) : "key number " + std::to_string(i); }

// Pairs, entries of several sizes, chains, an erased key, a key that has moved; then requests that were not read yet, one of
// them a stream of which only the first pieces fit into the ring.
Image image_of_a_kill() {
  Regions regions(4);
  for (std::uint64_t i = 0; i < 100; ++i) {
    regions.call({.key = key_of(i), .value = i % 4 == 0 ? text_of(~i) : std::string(10 + i % 3 * 120, 'v')});
  }
  regions.call({.op = Op::kErase, .key = key_of(3)});
  regions.call({.key = key_of(4), .value = "no word any more"});
  regions.call({.op = Op::kIncrement, .key = "n", .value = text_of(5)});
  regions.send({.op = Op::kIncrement, .key = "n", .value = text_of(5)});
  regions.send({.key = "stream", .value = std::string(2500, 's')});
  regions.send({.op = Op::kErase, .key = key_of(7)});
  return Image(regions.view());
}

void damage(Image& image, const Damage& how) {
  std::vector<std::byte>& bytes = image.parts[how.part % image.parts.size()].bytes;
  if (bytes.size() < 64) return;
  const std::uint64_t at = how.where % (bytes.size() - 63);
  std::byte* word = bytes.data() + at / 8 * 8;
  switch (how.kind % 5) {
    case 0:
      std::memcpy(word, &how.value, sizeof how.value);
      break;
    case 1:
      bytes[at] = static_cast<std::byte>(how.value);
      break;
    case 2:
      bytes[at] ^= static_cast<std::byte>(1U << how.value % 8);
      break;
    case 3:  // a copy from another place in this part
      std::memmove(bytes.data() + at, bytes.data() + how.value % (bytes.size() - 63), 64);
      break;
    default: {  // a word of another part: an offset, a state, a position, but a wrong one
      const std::vector<std::byte>& other = image.parts[how.value % image.parts.size()].bytes;
      if (other.size() >= 8) std::memcpy(word, other.data() + (how.value >> 8) % (other.size() / 8) * 8, 8);
    }
  }
}

// A restart without bounds, which this test must find when it is tested itself: it follows every word of a directory, whether
// that is in use or not.
void follow_every_word(Regions& regions) {
  const Region& table = regions.table().region();
  const ShardHeader& shard = table.at<TableHeader>(0)->shards[0];
  for (std::uint64_t at = 0; at < shard.pair_directory_populated.load(); at += sizeof(Word)) {
    const std::uint64_t segment = table.at<Word>(shard.pair_directory + at)->load();
    if (segment != 0 && std::to_integer<int>(table.data()[segment]) == 256) std::abort();
  }
}

void use(Regions& next, bool trusts_words, bool checks) {
  if (trusts_words) follow_every_word(next);
  next.work();
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < 110; ++i) keys.push_back(key_of(i));
  next.content(keys);
  if (checks) next.findings();
  // Some puts directly into the table, as only the requests of the client are left; then a split of each form, and a merge.
  ShardWriter& shard = next.table().shard(0);
  for (std::uint64_t i = 1000; i < 1020; ++i) {
    std::uint32_t lane;
    const std::string key = key_of(i);
    static_cast<void>(shard.put(next.table().hash(bytes_of(key), lane), bytes_of(key)));
  }
  LaneStats& stats = next.table().header().lane_stats[0];
  for (Word* count : {&stats.pair_keys, &stats.entry_keys}) {
    constexpr std::uint64_t kMany = 3000;
    constexpr int kSteps = 1100;  // a split of entries takes 1025
    count->store(count->load() + kMany);
    for (int step = 0; step < kSteps; ++step) shard.reclaim(1);
    count->store(count->load() - kMany);
  }
  for (int step = 0; step < 4; ++step) shard.reclaim(1);
  next.content(keys);
}

}  // namespace
}  // namespace hostmap::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hostmap::test;
  static const Image whole = image_of_a_kill();
  static const bool canary = std::getenv("HOSTMAP_FUZZ_CANARY") != nullptr;
  static Image image = whole;
  for (std::size_t i = 0; i < image.parts.size(); ++i) image.parts[i].bytes = whole.parts[i].bytes;
  for (std::size_t at = 0; at + sizeof(Damage) <= size; at += sizeof(Damage)) {
    Damage how;
    std::memcpy(&how, data + at, sizeof how);
    damage(image, how);
  }
  const bool checks = size % 16 == 1;  // not always, because it examines each finding again a second later
  const hostmap::InstanceName name = Regions::lay_out(image);
  try {
    Regions next(name);
    use(next, canary, checks);
    Regions another(name);
    use(another, canary, checks);
  } catch (const Refused&) {  // the next start reports it, and begins with an empty map
  }
  Regions::remove(name);
  return 0;
}
