// A reader is stopped inside a get while bucket, entry and page are rewritten, and continues: it returns the old value or a
// newer one, whole, and never reports a miss for a key that was always present.
//
// The reader is stepped. At one instruction after another the table is rewritten, and the versions are set as if that had
// happened 2^32 times, so that their low halves are the same again. In the soak it does happen. Both ways to read are stepped:
// the fast path, and the slow path, which decides what the fast path cannot.
#include <algorithm>
#include <array>
#include <functional>
#include <gtest/gtest.h>
#include <ostream>
#include <string>
#include <vector>

#include "layout/table.hpp"
#include "support/aligned_memory.hpp"
#include "support/seed.hpp"
#include "support/stepper.hpp"
#include "table_fixture.hpp"

namespace hostmap::test {
namespace {

constexpr std::uint64_t kAround = std::uint64_t{1} << 32;

struct Rewriting {
  const char* name;
  bool pairs;  // key and neighbour have 8 bytes
  std::string value, newer = {};
  std::string neighbours_value = {};  // the neighbour takes the place that the key leaves
  bool absent_between = false;        // the key is erased, and put again after its neighbour
  bool change_places = false;         // key and neighbour are present from the start, and swap their places
  bool splits = false;                // none of that: the key's segment is split, and the key moves
  // Nor that: the key lies in the third bucket of its chain, another one is erased, so it is moved into the first; then its value
  // changes.
  bool gathers = false;
};

std::ostream& operator<<(std::ostream& out, const Rewriting& rewriting) { return out << rewriting.name; }

class StoppedReader : public testing::TestWithParam<Rewriting> {
 protected:
  struct Report {
    std::atomic<int> outcome{-1};
    std::uint32_t size = 0;
    char value[8000] = {};
  };

  void SetUp() override {
    table_ = std::make_unique<TestTable>(TableSetup{.buckets = 1, .memory = std::uint64_t{1} << 20});
    // Two keys of one bucket; the first moves when its segment is split.
    const auto name = [](std::uint64_t i) {
      return GetParam().pairs ? text_of(i) : "a key " + std::to_string(100'000 + i);
    };
    const auto keys = [&](std::uint64_t bucket) {
      return GetParam().pairs ? table_->keys_of_one_bucket<PairBucket>(20, name, bucket)
                              : table_->keys_of_one_bucket<EntryBucket>(20, name, bucket);
    };
    std::vector<std::string> of_one = keys(5);
    std::uint32_t shard;
    const auto moves = [&](const std::string& key) {
      return table_->table().hash(bytes_of(key), shard).fraction >> 63;
    };
    std::ranges::partition(of_one, moves);
    ASSERT_TRUE(moves(of_one[0]));
    key_ = of_one[0];
    neighbour_ = of_one[1];
    if (GetParam().gathers) {
      for (unsigned i = 1; i <= 2 * kPlaces; ++i) {
        ASSERT_EQ(table_->put(of_one[i], GetParam().neighbours_value), StatusCode::kOk);
      }
    }
    ASSERT_EQ(table_->put(key_, GetParam().value), StatusCode::kOk);
    if (GetParam().change_places) {
      ASSERT_EQ(table_->put(neighbour_, GetParam().neighbours_value), StatusCode::kOk);
    }
  }

  void rewrite() {
    const Rewriting& how = GetParam();
    if (how.splits) return table_->force_splits();
    if (how.gathers) {
      const std::uint64_t overflow = table_->header().lane_stats[0].overflow_bytes.load();
      ASSERT_EQ(table_->erase(neighbour_), StatusCode::kOk);
      ASSERT_EQ(table_->put(key_, how.newer), StatusCode::kOk);
      ASSERT_LT(table_->header().lane_stats[0].overflow_bytes.load(), overflow);
      return;
    }
    if (how.change_places) {
      ASSERT_EQ(table_->erase(neighbour_), StatusCode::kOk);
    }
    ASSERT_EQ(how.absent_between ? table_->erase(key_) : table_->put(key_, how.newer), StatusCode::kOk);
    ASSERT_EQ(table_->put(neighbour_, how.neighbours_value), StatusCode::kOk);
    ASSERT_EQ(table_->put(key_, how.newer), StatusCode::kOk);
  }
  // Restores the original state.
  void restore() {
    const Rewriting& how = GetParam();
    if (how.splits || how.gathers || how.change_places) return SetUp();
    ASSERT_EQ(table_->erase(neighbour_), StatusCode::kOk);
    ASSERT_EQ(table_->erase(key_), StatusCode::kOk);
    ASSERT_EQ(table_->put(key_, how.value), StatusCode::kOk);
  }

  // Every version of the table: the buckets' and the pages'.
  std::vector<Word*> versions() {
    std::vector<Word*> words;
    std::byte* base = table_->table().region().data();
    const TableHeader& header = table_->header();
    for (const std::uint64_t segment : table_->segments_of<PairBucket>()) {
      for (std::uint64_t i = 0; i < kSegmentBuckets<PairBucket>; ++i) {
        words.push_back(&reinterpret_cast<PairBucket*>(base + segment)[i].header);
      }
    }
    for (const std::uint64_t segment : table_->segments_of<EntryBucket>()) {
      for (std::uint64_t i = 0; i < kSegmentBuckets<EntryBucket>; ++i) {
        words.push_back(&reinterpret_cast<EntryBucket*>(base + segment)[i].header);
      }
    }
    buckets_ = words.size();
    for (std::uint64_t i = 0; i < header.arena_allocated.load() / kPageSize; ++i) {
      words.push_back(&reinterpret_cast<PageGeneration*>(base + header.generations_offset)[i]);
    }
    return words;
  }
  std::vector<std::uint64_t> values_of(const std::vector<Word*>& words) const {
    std::vector<std::uint64_t> values;
    for (const Word* word : words) values.push_back(word->load());
    return values;
  }
  // Sets each version that has changed since `before` to its value in `before` plus 2^32. A header's other bits stay.
  void come_around(const std::vector<Word*>& words, const std::vector<std::uint64_t>& before) {
    for (std::size_t i = 0; i < words.size(); ++i) {
      const std::uint64_t now = words[i]->load();
      if (now == before[i]) continue;
      const bool bucket = i < buckets_;
      const std::uint64_t others = bucket ? (std::uint64_t{1} << kVersionShift) - 1 : 0;
      const std::uint64_t round = bucket ? kAround << kVersionShift : kAround;
      words[i]->store(((before[i] & ~others) + round) | (now & others));
    }
  }

  // A get, in a process of its own.
  void get() {
    const TableReader reader = table_->reader();
    const std::span<const std::byte> key = bytes_of(key_);
    std::array<std::byte, sizeof(Report::value)> space;
    TableReader::ReadResult got{};
    if (way_ == Way::kFast) {
      got.outcome = outcome_of(reader.try_get(key, reader.hash_of(key), ValueTarget::buffer(space), got.size));
    } else {
      got = reader.get(key, ValueTarget::buffer(space));
    }
    if (got.outcome == ReadOutcome::kHit) std::memcpy(report_->value, space.data(), got.size);
    report_->size = static_cast<std::uint32_t>(got.size);
    report_->outcome.store(static_cast<int>(got.outcome));
  }
  std::uint64_t instructions_of_a_get() {
    report_ = new (memory_.data()) Report;
    return step_through([&] { get(); }, [](std::uint64_t) {});
  }
  void get_disturbed(std::uint64_t step, const std::function<void()>& disturb) {
    report_ = new (memory_.data()) Report;
    stop_at([&] { get(); }, step, disturb, Afterwards::kGoesOn);
  }
  void expect_old_or_newer(std::uint64_t step) const {
    const Rewriting& how = GetParam();
    const auto outcome = static_cast<ReadOutcome>(report_->outcome.load());
    const std::string value(report_->value, outcome == ReadOutcome::kHit ? report_->size : 0);
    if (outcome == ReadOutcome::kContended && way_ == Way::kFast) return;  // it leaves the decision to the slow path
    if (outcome == ReadOutcome::kHit) {
      EXPECT_TRUE(value == how.value || value == how.newer)
          << "a torn or foreign value; the table was rewritten at step " << step;
    } else {
      EXPECT_TRUE(how.absent_between && outcome == ReadOutcome::kMiss)
          << "outcome " << static_cast<int>(outcome)
          << " for a key that was always present; the table was rewritten at step " << step;
    }
  }

  // Rewrites the table at up to `most` of the get's instructions, evenly spread from one that the seed chooses.
  void rewrite_at(std::uint64_t most) {
    for (const Way way : {Way::kFast, Way::kSlow}) {
      way_ = way;
      rewrite_one_way_at(most);
      if (HasFailure()) return;
    }
  }
  void rewrite_one_way_at(std::uint64_t most) {
    const std::uint64_t steps = instructions_of_a_get();
    ASSERT_GT(steps, 0u);
    const std::uint64_t stride = 1 + steps / most;
    std::uint64_t rewritings = 0;
    Random random;
    for (std::uint64_t step = random.below(stride); step < steps; step += stride, ++rewritings) {
      get_disturbed(step, [&] {
        const std::vector<Word*> words = versions();
        const std::vector<std::uint64_t> before = values_of(words);
        rewrite();
        come_around(words, before);
      });
      expect_old_or_newer(step);
      if (HasFailure()) return;
      restore();
    }
    std::printf("%s: rewritten at %lu of %lu instructions\n", way_ == Way::kFast ? "the fast path" : "the slow path",
                static_cast<unsigned long>(rewritings), static_cast<unsigned long>(steps));
  }

  enum class Way { kFast, kSlow };
  std::unique_ptr<TestTable> table_;
  std::string key_;
  std::string neighbour_;
  Way way_ = Way::kSlow;

 private:
  const AlignedMemory memory_{sizeof(Report)};
  Report* report_ = nullptr;
  std::size_t buckets_ = 0;  // the first so many versions are those of buckets
};

TEST_P(StoppedReader, DetectsARewriteWhoseVersionsHaveWrapped) { rewrite_at(40); }
class StoppedReaderSlow : public StoppedReader {};
TEST_P(StoppedReaderSlow, DetectsARewriteWhoseVersionsHaveWrapped) { rewrite_at(200); }

class StoppedReaderSoak : public StoppedReader {};
TEST_P(StoppedReaderSoak, DetectsFourBillionRewrites) {
  Random random;
  way_ = random.below(2) == 0 ? Way::kFast : Way::kSlow;
  const std::uint64_t step = random.below(instructions_of_a_get());
  get_disturbed(step, [&] {
    rewrite();
    for (std::uint64_t i = 0; i < kAround / 4; ++i) {  // each changes a version by at least four stores
      restore();
      rewrite();
    }
  });
  expect_old_or_newer(step);
}

std::string letters(std::size_t size, char letter) { return std::string(size, letter); }

const auto kRewritings = testing::Values(
    Rewriting{"PairOverwritten", true, text_of(100), text_of(200), text_of(300), false},
    Rewriting{"PairThatMoves", true, text_of(100), text_of(200), text_of(300), true},
    Rewriting{"PairBecomesEntry", true, text_of(100), letters(40, 'n'), text_of(300), false},
    Rewriting{"EntryBecomesPair", true, letters(40, 'o'), text_of(100), letters(40, 'f'), false},
    Rewriting{"Entry", false, letters(40, 'o'), letters(40, 'n'), letters(40, 'f'), false},
    Rewriting{"EntryThatMoves", false, letters(40, 'o'), letters(40, 'n'), letters(40, 'f'), true},
    Rewriting{"LongEntry", false, letters(1100, 'o'), letters(1100, 'n'), letters(1100, 'f'), false},
    Rewriting{"LongEntryThatMoves", false, letters(1100, 'o'), letters(1100, 'n'), letters(1100, 'f'), true});
// These need a new table after each rewriting, as nothing else restores the original state.
const auto kRewritingsOfANewTable = testing::Values(
    Rewriting{"PairsThatChangePlaces", true, text_of(100), text_of(200), text_of(300), true, true},
    Rewriting{"EntriesThatChangePlaces", false, letters(40, 'o'), letters(40, 'n'), letters(40, 'f'), true, true},
    Rewriting{.name = "PairWhileItSplits", .pairs = true, .value = text_of(100), .splits = true},
    Rewriting{.name = "PairThatIsGathered",
              .pairs = true,
              .value = text_of(100),
              .newer = text_of(200),
              .neighbours_value = text_of(300),
              .gathers = true},
    Rewriting{.name = "EntryWhileItSplits", .pairs = false, .value = letters(40, 'o'), .splits = true});
const auto kNameOf = [](const auto& test) { return std::string(test.param.name); };
INSTANTIATE_TEST_SUITE_P(Of, StoppedReader, kRewritings, kNameOf);
INSTANTIATE_TEST_SUITE_P(OfANewTable, StoppedReader, kRewritingsOfANewTable, kNameOf);
INSTANTIATE_TEST_SUITE_P(Of, StoppedReaderSlow, kRewritings, kNameOf);
INSTANTIATE_TEST_SUITE_P(OfANewTable, StoppedReaderSlow, kRewritingsOfANewTable, kNameOf);
INSTANTIATE_TEST_SUITE_P(Of, StoppedReaderSoak, kRewritings, kNameOf);

}  // namespace
}  // namespace hostmap::test
