// The functions of layout.hpp that compute where things lie: parts never overlap, whatever the options.
#include <algorithm>
#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

struct Part {
  std::string name;
  std::uint64_t begin;
  std::uint64_t end;
};

// The parts follow each other in this order without overlap, the last one ends at `bytes` at most.
void expect_in_order(const std::vector<Part>& parts, std::uint64_t bytes, const std::string& where) {
  std::uint64_t last = 0;
  for (const Part& part : parts) {
    ASSERT_GE(part.begin, last) << part.name << " of " << where;
    ASSERT_GE(part.end, part.begin) << part.name << " of " << where;
    last = part.end;
  }
  ASSERT_LE(last, bytes) << where;
}

void expect_good_plan(std::uint64_t limit, std::uint32_t shards) {
  const std::string where = std::to_string(limit) + " bytes, " + std::to_string(shards) + " shards";
  const TablePlan plan = plan_table(limit, shards);
  std::vector<Part> parts{{"head", 0, sizeof(TableHeader)}};
  parts.push_back({"words of groups", kWaitGroupsOffset, kWaitGroupsOffset + shards * sizeof(WaitGroupWords)});
  ASSERT_EQ(plan.head_bytes, parts.back().end) << where;
  for (std::uint32_t i = 0; i < shards; ++i) {
    for (const std::uint64_t begin : {plan.pair_directory(i), plan.entry_directory(i)}) {
      parts.push_back({"directory of shard " + std::to_string(i), begin, begin + plan.directory_bytes});
      ASSERT_EQ(begin % kPageSize, 0u) << where;
    }
  }
  parts.push_back({"generations", plan.generations_offset, plan.generations_offset + plan.generations_bytes});
  parts.push_back({"arena", plan.arena_offset, plan.arena_offset + plan.arena_bytes});
  expect_in_order(parts, plan.file_bytes, where);
  ASSERT_EQ(plan.generations_offset % kPageSize, 0u) << where;
  ASSERT_EQ(plan.arena_offset % kHugePageSize, 0u) << where;
  ASSERT_EQ(plan.file_bytes, plan.arena_offset + plan.arena_bytes) << where;
  // A generation for each page of the arena, and an arena of whole slabs that can take the whole limit.
  ASSERT_EQ(plan.generations_bytes, round_up(plan.arena_bytes / kPageSize * sizeof(PageGeneration), kPageSize))
      << where;
  ASSERT_EQ(plan.arena_bytes % kSlabBytes, 0u) << where;
  ASSERT_GE(plan.arena_bytes, limit) << where;
  // Offsets fit a cell; each directory can lead to every slab, and has one level more.
  ASSERT_LE(plan.file_bytes, kOffsetMask) << where;
  ASSERT_GE(std::uint64_t{1} << plan.most_depth, plan.arena_bytes / kSlabBytes) << where;
  ASSERT_GE(plan.directory_bytes, (std::uint64_t{4} << plan.most_depth) * sizeof(Word)) << where;
  ASSERT_LE(plan.most_depth + 5 + 9 + 16, 64u) << "prefix, shard, bucket and tag share no bits of the hash";
}

constexpr std::uint64_t kLeastMemory = 512 * 1024;             // of --memory
constexpr std::uint64_t kMostMemory = std::uint64_t{1} << 40;  // likewise

TEST(TablePlanTest, PartsNeverOverlapAtTheBoundsOfEveryOption) {
  for (std::uint32_t shards = 1; shards <= kMaxLanes; ++shards) {
    for (std::uint64_t limit = kLeastMemory; limit <= kMostMemory; limit *= 2) {
      for (const std::uint64_t near : {limit - 1, limit, limit + 1, limit + kPageSize}) {
        ASSERT_NO_FATAL_FAILURE(expect_good_plan(near, shards));
      }
    }
  }
}

TEST(TablePlanTest, PartsNeverOverlapForRandomOptions) {
  Random random;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t limit = random.between(kLeastMemory, kMostMemory) >> random.below(21);
    const auto shards = static_cast<std::uint32_t>(random.between(1, kMaxLanes));
    ASSERT_NO_FATAL_FAILURE(expect_good_plan(std::max(limit, kLeastMemory), shards));
  }
}

TEST(MasterPlanTest, TheMailboxesFollowTheHeadAndFitTheRegion) {
  for (const std::uint32_t mailboxes : {1u, 2u, 63u, 64u, 65u, 1024u, kMaxConnections, 2 * kMaxConnections}) {
    const std::uint64_t bytes = master_bytes(mailboxes);
    expect_in_order({{"head", 0, sizeof(MasterHeader)},
                     {"mailboxes", kMailboxesOffset, kMailboxesOffset + mailboxes * sizeof(Mailbox)}},
                    bytes, std::to_string(mailboxes));
    EXPECT_EQ(bytes % kPageSize, 0u);
    EXPECT_EQ(kMailboxesOffset % alignof(Mailbox), 0u);
  }
}

TEST(ConnectionPlanTest, ControlsAndRingsOfAllChannelsLieApart) {
  for (std::uint32_t lanes = 1; lanes <= kMaxLanes; ++lanes) {
    for (const std::uint64_t ring : {std::uint64_t{4096}, std::uint64_t{65536}, std::uint64_t{64} << 20}) {
      const std::string where = std::to_string(lanes) + " lanes of " + std::to_string(ring);
      std::vector<Part> parts{{"head", 0, sizeof(ConnectionHeader)}};
      for (std::uint32_t channel = 0; channel < 2 * lanes; ++channel) {
        const std::uint64_t at = channel_control_offset(channel);
        parts.push_back({"control", at, at + sizeof(ChannelControl)});
      }
      parts.push_back({"end of head", connection_head_bytes(lanes), connection_head_bytes(lanes)});
      for (std::uint32_t channel = 0; channel < 2 * lanes; ++channel) {
        const std::uint64_t request = request_ring_offset(channel, lanes, ring);
        const std::uint64_t answer = answer_ring_offset(channel, lanes, ring);
        ASSERT_EQ(request % kPageSize, 0u) << "populated by pages";
        parts.push_back({"request ring", request, request + ring});
        parts.push_back({"answer ring", answer, answer + ring});
      }
      ASSERT_NO_FATAL_FAILURE(expect_in_order(parts, connection_bytes(lanes, ring), where));
      ASSERT_EQ(parts.back().end, connection_bytes(lanes, ring)) << where;
      ASSERT_LE(2 * lanes, kMaxChannels);
    }
  }
}

TEST(JournalPlanTest, RecordsPositionsAndClassesLieApart) {
  for (const std::uint32_t connections : {1u, 7u, 1024u, kMaxConnections}) {
    for (std::uint32_t lanes = 1; lanes <= kMaxLanes; lanes += 3) {
      for (const std::uint64_t slabs : {std::uint64_t{16}, std::uint64_t{32767}, kMostMemory / kSlabBytes}) {
        const std::uint64_t records = kConnectionRecordsOffset;
        const std::uint64_t positions = positions_offset(connections);
        const std::uint64_t classes = slab_classes_offset(connections, lanes);
        ASSERT_NO_FATAL_FAILURE(expect_in_order(
            {{"head", 0, sizeof(JournalHeader)},
             {"connections", records, records + std::uint64_t{connections} * sizeof(ConnectionRecord)},
             {"positions", positions, positions + std::uint64_t{connections} * 2 * lanes * sizeof(ChannelPosition)},
             {"slab classes", classes, classes + slabs}},
            journal_bytes(connections, lanes, slabs), std::to_string(connections) + " connections"));
        ASSERT_EQ(journal_bytes(connections, lanes, slabs) % kPageSize, 0u);
        ASSERT_EQ(records % alignof(ConnectionRecord), 0u);
        ASSERT_EQ(positions % alignof(ChannelPosition), 0u);
      }
    }
  }
}

// --- Directories -----------------------------------------------------------------------------------------------------

// The definition in plain words: at depth d, word 2^d + the number of the fraction's interval, of 2^d.
TEST(DirectoryIndexTest, IsTheNumberOfTheFractionsIntervalInHeapOrder) {
  Random random;
  for (unsigned depth = 0; depth <= 40; ++depth) {
    ASSERT_EQ(state_depth(make_state(depth)), depth);
    for (int i = 0; i < 1000; ++i) {
      const std::uint64_t fraction = i == 0 ? 0 : i == 1 ? ~std::uint64_t{0} : random.word();
      const std::uint64_t prefix = depth == 0 ? 0 : fraction >> (64 - depth);
      ASSERT_EQ(directory_index(make_state(depth), fraction), (std::uint64_t{1} << depth) + prefix) << depth;
    }
  }
}

TEST(DirectoryIndexTest, TheFlagsOfTheStateDoNotMatter) {
  Random random;
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t state = make_state(static_cast<unsigned>(random.below(41)));
    const std::uint64_t fraction = random.word();
    const std::uint64_t flags = random.word() & ~kStateShiftMask;
    ASSERT_EQ(directory_index(state, fraction), directory_index(state | flags, fraction));
  }
}

// What a split relies on: one level deeper, the words of an interval's halves are the two that follow from its own.
TEST(DirectoryIndexTest, TheHalvesOfAnIntervalLieBehindItsTwoChildren) {
  Random random;
  for (int i = 0; i < 10'000; ++i) {
    const auto depth = static_cast<unsigned>(random.below(40));
    const std::uint64_t fraction = random.word();
    const std::uint64_t parent = directory_index(make_state(depth), fraction);
    const std::uint64_t half = fraction >> (63 - depth) & 1;
    ASSERT_EQ(directory_index(make_state(depth + 1), fraction), 2 * parent + half);
  }
}

// The definition by the words themselves: all fractions up to the last one lead to the same segment, and the next one does not.
TEST(LastFractionTest, TheNextFractionLeadsToAnotherSegment) {
  Random random;
  for (int i = 0; i < 10'000; ++i) {
    const auto depth = static_cast<unsigned>(random.below(41));
    const std::uint64_t state = make_state(depth);
    const std::uint64_t fraction = i % 3 == 0 ? ~std::uint64_t{0} : random.word();
    const std::uint64_t index = directory_index(state, fraction);
    // A split segment has a word for itself; another one has two.
    for (const bool split : {false, true}) {
      if (depth == 0 && split) continue;
      const auto segment_of = [&](std::uint64_t word) { return split || depth == 0 ? word : word / 2; };
      const std::uint64_t last = last_fraction(state, fraction, segment_of(index), segment_of(index ^ 1));
      ASSERT_GE(last, fraction);
      ASSERT_EQ(segment_of(directory_index(state, last)), segment_of(index)) << depth;
      if (last == ~std::uint64_t{0}) {
        ASSERT_EQ(segment_of(index), segment_of((std::uint64_t{2} << depth) - 1)) << depth;
      } else {
        ASSERT_NE(segment_of(directory_index(state, last + 1)), segment_of(index)) << depth;
      }
    }
  }
}

// --- Words that are put together of parts ------------------------------------------------------------------------------

TEST(PackedWordTest, EveryPartComesBackWhateverTheOthersAre) {
  Random random;
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t id = random.one_in(10) ? kIdMask : random.word() & kIdMask;
    const auto mailbox_now = static_cast<MailboxState>(random.below(7));
    EXPECT_EQ(mailbox_id(mailbox_word(id, mailbox_now)), id);
    EXPECT_EQ(mailbox_state(mailbox_word(id, mailbox_now)), mailbox_now);

    const auto tag = static_cast<std::uint16_t>(random.word());
    const std::uint64_t offset = random.one_in(10) ? kOffsetMask : random.word() & kOffsetMask;
    EXPECT_EQ(cell_tag(make_cell(tag, offset)), tag);
    EXPECT_EQ(cell_offset(make_cell(tag, offset)), offset);
    EXPECT_EQ(is_link(make_cell(tag, offset)), tag == 0 && offset != 0);
    const std::uint64_t beside = (random.below(15) + 1) << 44;
    EXPECT_EQ(cell_tag(make_cell(tag, offset) | beside), tag);
    EXPECT_EQ(cell_offset(make_cell(tag, offset) | beside), offset);
    EXPECT_FALSE(is_link(make_cell(0, offset) | beside)) << "a link has no bit beside its offset";

    const std::uint64_t key_bytes = random.between(1, kMaxKeyBytes);
    const std::uint64_t value_bytes = random.between(0, kMaxValueBytes);
    const std::uint64_t flags = random.below(256) << 16;
    EXPECT_EQ(meta_key_bytes(make_meta(key_bytes, value_bytes) | flags), key_bytes);
    EXPECT_EQ(meta_value_bytes(make_meta(key_bytes, value_bytes) | flags), value_bytes);

    const std::uint64_t version = random.word() >> kVersionShift;
    const std::uint64_t fill = random.below(256);
    const std::uint64_t low = random.below(256);
    const std::uint64_t header = version << kVersionShift | fill << kFillShift | low;
    EXPECT_EQ(header_version(header), version);
    EXPECT_EQ(header_fill(header), fill);
    EXPECT_EQ(header_version(header + kVersionStep), (version + 1) << kVersionShift >> kVersionShift);
    EXPECT_EQ(header_fill(header + kVersionStep), fill);
  }
}

TEST(PackedWordTest, TheSizesAtTheirBoundsFit) {
  EXPECT_EQ(meta_key_bytes(make_meta(1, 0)), 1u);
  EXPECT_EQ(meta_key_bytes(make_meta(kMaxKeyBytes, kMaxValueBytes)), kMaxKeyBytes);
  EXPECT_EQ(meta_value_bytes(make_meta(kMaxKeyBytes, kMaxValueBytes)), kMaxValueBytes);
  EXPECT_EQ(make_meta(kMaxKeyBytes, kMaxValueBytes) & (kEntryHasEnd | kEntryInLargerBlock | kEntryReserved), 0u);
  EXPECT_EQ(kSmallestEntry, 9u);
}

TEST(PackedWordTest, AnEndLiesBehindKeyAndValueWhereAWordMayLie) {
  Random random;
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t key_bytes = random.between(1, 40);
    const std::uint64_t value_bytes = random.between(0, 40);
    const std::uint64_t meta = make_meta(key_bytes, value_bytes);
    EXPECT_EQ(entry_bytes(meta), entry_bytes(key_bytes, value_bytes));
    EXPECT_EQ(end_place(meta) % 8, 0u);
    EXPECT_GE(end_place(meta), entry_bytes(meta));
    EXPECT_LT(end_place(meta), entry_bytes(meta) + 8);
    EXPECT_EQ(entry_bytes(meta | kEntryHasEnd), end_place(meta) + 8);
  }
  EXPECT_EQ(kCellEnds & kCellReserved, 0u);
  EXPECT_EQ((kCellEnds | kCellReserved) & (kOffsetMask | make_cell(0xffff, 0)), 0u);
}

TEST(PackedWordTest, TheMasksOfAHeaderDoNotOverlapAndLeaveTheVersion) {
  EXPECT_EQ(kOverflowBit & kOccupiedMask, 0u);
  EXPECT_EQ((kOverflowBit | kOccupiedMask) & kFillMask, 0u);
  EXPECT_EQ((kOverflowBit | kOccupiedMask | kFillMask) + 1, kVersionStep);
  EXPECT_EQ(kStateClosed & kStateMixed, 0u);
  EXPECT_EQ((kStateClosed | kStateMixed) & kStateShiftMask, 0u);
  for (const std::uint64_t phase : {kTwinNone, kTwinPurge, kTwinMerge}) {
    EXPECT_EQ(twin_phase(7 * kSlabBytes | phase), phase);
    EXPECT_EQ(twin_segment(7 * kSlabBytes | phase), 7 * kSlabBytes);
  }
}

TEST(PackedWordTest, ARecordIsAWholeNumberOfUnits) {
  for (std::uint64_t payload = 0; payload < 200; ++payload) {
    EXPECT_EQ(record_bytes(payload) % kRecordUnit, 0u);
    EXPECT_GE(record_bytes(payload), kRecordHeadBytes + payload);
    EXPECT_LT(record_bytes(payload), kRecordHeadBytes + payload + kRecordUnit);
  }
  EXPECT_EQ(record_bytes(16), 32u) << "a put of a pair";
  EXPECT_EQ(record_bytes(0), 16u) << "an answer without value";
}

}  // namespace
}  // namespace hostmap::test
