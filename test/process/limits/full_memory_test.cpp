// No memory is left, because of --memory or because the file system is full (fault case 13 in
// docs/internals/failure-model.md). Puts are refused, everything else works.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/resource.h>

#include "process/harness/own_shm.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/server.hpp"
#include "shm/region.hpp"
#include "support/child.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

std::string entry_key(std::uint64_t number) { return "key " + std::to_string(number); }

// Puts new keys, beginning with `first`, until one is refused. Returns how many were accepted.
std::uint64_t fill_table(Client& client, std::size_t value_bytes, std::uint64_t first = 0,
                         const std::function<std::string(std::uint64_t)>& key = entry_key) {
  for (std::uint64_t count = 0;; ++count) {
    const Status status = client.put(key(first + count), sealed_value(first + count, first + count, value_bytes));
    if (status.ok()) continue;
    EXPECT_EQ(status.code(), StatusCode::kFull) << status.message();
    return count;
  }
}

void expect_all_there(Client& client, std::uint64_t count, std::size_t value_bytes) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const Result<std::string> got = client.get(entry_key(i));
    ASSERT_TRUE(static_cast<bool>(got)) << i << ": " << got.status().message();
    ASSERT_TRUE(*got == sealed_value(i, i, value_bytes)) << i;
  }
  ASSERT_EQ(client.get(entry_key(count + 1'000'000'000)).status().code(), StatusCode::kNotFound);
}

// Everything that must work in a full table that holds `count` entries of 1000 bytes.
void use_full_table(Server& server, Client& direct, Client& ring, std::uint64_t count) {
  ASSERT_GT(count, 100u);
  EXPECT_EQ(server.stat("entries"), count);
  EXPECT_GT(server.stat("refused"), 0u);
  expect_all_there(direct, count, 1000);
  expect_all_there(ring, count, 1000);

  // An existing key gets a new value of the same or a smaller size, however full the table is.
  for (std::uint64_t i = 0; i < count; ++i) {
    const Status status = direct.put(entry_key(i), sealed_value(i + 7, i, 1000));
    ASSERT_TRUE(status.ok()) << i << " of " << count << ": " << status.message();
    ASSERT_TRUE(*direct.get(entry_key(i)) == sealed_value(i + 7, i, 1000));
    ASSERT_TRUE(direct.put(entry_key(i), sealed_value(i, i, 1000)).ok());
  }
  // Queued writes are refused, too: the next flush reports how many, once.
  for (std::uint64_t i = 0; i < 3; ++i)
    ASSERT_TRUE(
        direct.put_async(entry_key(count + i), std::string(400'000, 'x')).ok());  // more than the rest of any slab
  const Status flushed = direct.flush();
  EXPECT_EQ(flushed.code(), StatusCode::kFull);
  EXPECT_NE(std::string(flushed.message()).find("queued writes refused: 3;"), std::string::npos) << flushed.message();
  EXPECT_TRUE(direct.flush().ok());
  EXPECT_EQ(server.stat("entries"), count);

  // Erased memory can be used again.
  for (std::uint64_t i = 0; i < count; i += 2) ASSERT_TRUE(direct.erase(entry_key(i)).ok());
  for (std::uint64_t i = 0; i < count; i += 2) {
    ASSERT_TRUE(direct.put(entry_key(i), sealed_value(i, i, 1000)).ok()) << i << " of " << count;
  }
  expect_all_there(direct, count, 1000);
  expect_all_there(ring, count, 1000);
}

class FullMemory : public testing::TestWithParam<const char*> {};

TEST_P(FullMemory, PastTheLimitPutsAreRefusedAndEverythingElseWorks) {
  Server server({"10", "--memory", "4M", "--workers", GetParam()});
  Client direct = server.connect();
  Client ring = server.connect(kPatience, Reads::kRing);
  const std::uint64_t count = fill_table(direct, 1000);
  use_full_table(server, direct, ring, count);
  EXPECT_LE(server.stat("memory_bytes"), server.stat("memory_limit_bytes"));
  EXPECT_EQ(server.stat("populate_failures"), 0u) << "a limit that is reached is not a failure of the file system";
}

TEST_P(FullMemory, GrowthIntoAFullFileSystemIsRefusedAndEverythingElseWorks) {
  const std::string workers = GetParam();
  in_own_shm("size=64m", [&] {
    const SmallFolder folder("size=6m");
    ServerSetup setup;
    setup.dir = folder.path();
    Server server({"10", "--memory", "32M", "--workers", workers}, setup);
    Client direct = server.connect();
    Client ring = server.connect(kPatience, Reads::kRing);
    for (std::uint64_t i = 0; i < 100; ++i) {  // so that the channels of every lane are open
      EXPECT_EQ(ring.exists(entry_key(i)).code(), StatusCode::kNotFound);
      EXPECT_TRUE(direct.put(entry_key(i), sealed_value(i, i, 1000)).ok());
    }
    const std::uint64_t count = 100 + fill_table(direct, 1000, 100);
    EXPECT_GT(server.stat("populate_failures"), 0u);
    use_full_table(server, direct, ring, count);

    // A client that connects now may find no space for its connection: it is refused clearly, and nothing incomplete is
    // left.
    folder.fill();
    const std::vector<std::string> before = server.files();
    expect_refusal(run(server.client_command({"1"})), 4, {"memory", "connection"});
    EXPECT_EQ(server.files(), before);

    // The file system has free space again, and so has the table.
    folder.unfill();
    EXPECT_EQ(::mount(nullptr, folder.path().c_str(), nullptr, MS_REMOUNT, "size=24m"), 0);
    EXPECT_GT(fill_table(direct, 1000, 1'000'000), count) << "it has grown since";
    expect_all_there(direct, count, 1000);
  });
}

INSTANTIATE_TEST_SUITE_P(Workers, FullMemory, testing::Values("1", "4"),
                         [](const auto& test) { return std::string(test.param) + "Workers"; });

TEST(FullTable, NewPairsAreRefusedExistingOnesOverwrittenAndErased) {
  Server server({"10", "--memory", "1M"});
  Client client = server.connect();
  const std::uint64_t count = fill_table(client, 8, 0, word_key);
  ASSERT_GT(count, 1000u);
  EXPECT_EQ(server.stat("pair_keys"), count);
  for (std::uint64_t i = 0; i < count; ++i) ASSERT_TRUE(client.put(word_key(i), word_key(i + 1)).ok()) << "in place";
  for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(*client.get(word_key(i)), word_key(i + 1));
  for (std::uint64_t i = 0; i < count; i += 3) {
    ASSERT_TRUE(client.erase(word_key(i)).ok());
    ASSERT_TRUE(client.put(word_key(i), word_key(i)).ok()) << "its place is free";
  }
  EXPECT_EQ(server.stat("entries"), count);
  // While a third is absent, segments merge; they are split again as it returns.
  for (std::uint64_t i = 0; i < count; i += 3) ASSERT_TRUE(client.erase(word_key(i)).ok());
  for (std::uint64_t i = 0; i < count; i += 3) {
    ASSERT_TRUE(client.put(word_key(i), word_key(i)).ok()) << i << " of " << count;
  }
  EXPECT_EQ(server.stat("entries"), count);
}

// Existing counters can be incremented, whatever their size, whichever client writes them, and whatever was refused before.
TEST_P(FullMemory, UpdatesThatNeedNoMoreMemoryWorkWithAnySize) {
  for (const std::size_t bytes : {17, 100, 1000, 15'000, 20'000, 100'000, 400'000}) {
    auto server = std::make_unique<Server>(std::vector<std::string>{"10", "--memory", "8M", "--workers", GetParam()});
    Client client = server->connect();
    const std::uint64_t count = fill_table(client, bytes);
    ASSERT_GT(count, 5u);
    std::uint64_t number = 0;
    while (client.increment("n " + std::to_string(number))) ++number;
    for (int round = 0; round < 3; ++round) {
      for (std::uint64_t i = 0; i < std::min<std::uint64_t>(count, 300); ++i) {
        const std::uint64_t seal = i + 1000 * static_cast<std::uint64_t>(round);
        const std::string value = sealed_value(seal, i, bytes);
        const std::string now = *client.get(entry_key(i));
        ASSERT_EQ(client.put(entry_key(i), value), StatusCode::kOk) << bytes << " bytes, " << i << " of " << count;
        ASSERT_TRUE(*client.get(entry_key(i)) == value);
        ASSERT_EQ(client.compare_exchange(entry_key(i), value, now), StatusCode::kOk) << bytes << " bytes";
        const Result<ValueAndToken> found = client.get_with_token(entry_key(i));
        ASSERT_TRUE(found && found->value == now);
        ASSERT_EQ(client.put_if(entry_key(i), value, found->token), StatusCode::kOk) << bytes << " bytes";
        ASSERT_EQ(client.replace(entry_key(i), now), StatusCode::kOk) << bytes << " bytes";
      }
      for (std::uint64_t i = 0; i < std::min<std::uint64_t>(number, 300); ++i) {
        ASSERT_EQ(*client.increment("n " + std::to_string(i)), round + 2) << bytes << " bytes beside it";
      }
    }
    // The same after a takeover.
    server->kill();
    ServerSetup same;
    same.name = server->name();
    server = std::make_unique<Server>(std::vector<std::string>{}, same);
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(count, 300); ++i) {
      ASSERT_EQ(client.put(entry_key(i), sealed_value(i, i, bytes)), StatusCode::kOk) << bytes << " bytes, " << i;
      ASSERT_EQ(client.put(entry_key(i), std::string((bytes + 1) / 2, 's')), StatusCode::kOk) << "a smaller one";
      ASSERT_TRUE(*client.get(entry_key(i)) == std::string((bytes + 1) / 2, 's'));
    }
    EXPECT_LE(server->stat("memory_bytes"), server->stat("memory_limit_bytes"));
  }
}

// A process that maps the whole file and reads it makes it larger than --memory: this is logged, and the next start frees
// the pages.
TEST(ReadAll, PagesThatReadersAllocatedAreReportedAndFreedByTheNextStart) {
  // Of so many workers, the directories alone may take 4 MiB beyond the limit.
  constexpr std::uint64_t kLimit = std::uint64_t{64} << 20;
  auto server = std::make_unique<Server>(std::vector<std::string>{"32", "--memory", "64M", "--workers", "32"});
  Client client = server->connect();
  for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_TRUE(client.put(entry_key(i), sealed_value(i, i, 1000)).ok());
  EXPECT_LE(server->stat("file_bytes"), kLimit);
  {
    const Result<Region> all = Region::attach(server->instance().table(), RegionKind::kTable, Access::kReadOnly);
    ASSERT_TRUE(static_cast<bool>(all)) << all.status().message();
    std::uint64_t sum = 0;
    for (std::uint64_t page = 0; page < all->bytes(); page += kPageSize) {
      sum += std::to_integer<std::uint64_t>(*const_cast<const volatile std::byte*>(all->data() + page));
    }
    EXPECT_NE(sum, 0u);
  }
  EXPECT_GT(server->stat("file_bytes"), kLimit + kHugePageSize);
  EXPECT_NE(run(server->stat_command()).output.find("file_bytes"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return server->errors().find("more than --memory (64 MiB)") != std::string::npos; }))
      << server->errors();
  server->kill();
  ServerSetup same;
  same.name = server->name();
  server = std::make_unique<Server>(std::vector<std::string>{}, same);
  EXPECT_LE(server->stat("file_bytes"), kLimit);
  expect_all_there(client, 1000, 1000);
}

// A client that locks its memory, as real-time programs do, makes the table no larger; it maps what the table grows by.
TEST(LockedMemory, AClientThatLocksAllOfItsMemoryMakesTheTableNoLarger) {
  constexpr std::uint64_t kLimit = std::uint64_t{64} << 20;
  Server server({"10", "--memory", "64M"});
  Client writer = server.connect();
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(writer.put(entry_key(i), sealed_value(i, i, 1000)).ok());
  for (const bool read_only : {false, true}) {
    const std::uint64_t before = server.stat("file_bytes");
    Child locking = Child::fork([&] {
      EXPECT_EQ(::mlockall(MCL_CURRENT | MCL_FUTURE), 0) << std::strerror(errno);
      Options options = server.options();
      options.read_only = read_only;
      Result<Client> client = Client::connect(options);
      if (!client) return EXIT_FAILURE;
      Client other = server.connect();
      for (std::uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(*client->get(entry_key(i)) == sealed_value(i, i, 1000));
      // Beyond what it had mapped at first: buckets of both forms, the arena and its generations grow.
      for (std::uint64_t i = 0; i < 20'000; ++i) {
        EXPECT_TRUE(other.put(entry_key(i), sealed_value(i, i, 1000)).ok());
        EXPECT_TRUE(other.put(word_key(i), word_key(i)).ok());
        if (i % 100 == 0) {
          EXPECT_TRUE(*client->get(entry_key(i)) == sealed_value(i, i, 1000));
        }
      }
      for (std::uint64_t i = 0; i < 20'000; ++i) {
        EXPECT_TRUE(*client->get(entry_key(i)) == sealed_value(i, i, 1000));
        EXPECT_EQ(*client->get(word_key(i)), word_key(i));
      }
      std::uint64_t met = 0;
      EXPECT_TRUE(client->scan("", [&](std::string_view, std::string_view) { return ++met != 0; }).ok());
      EXPECT_EQ(met, 40'000u);
      return testing::Test::HasFailure() ? EXIT_FAILURE : EXIT_SUCCESS;
    });
    EXPECT_EQ(locking.wait(), kSuccess);
    EXPECT_EQ(server.stat("read_fallbacks"), 0u) << "what has grown is read directly, too";
    EXPECT_LE(server.stat("file_bytes"), server.stat("memory_bytes") + kHugePageSize) << "it was " << before;
    EXPECT_LE(server.stat("file_bytes"), kLimit);
  }
}

TEST(LockedMemory, AClientThatLocksItsMemoryLaterMakesTheTableNoLarger) {
  Server server({"10", "--memory", "64M"});
  Child locking = Child::fork([&] {
    Client client = server.connect();
    EXPECT_TRUE(client.put(entry_key(1), sealed_value(1, 1, 1000)).ok());
    EXPECT_TRUE(*client.get(entry_key(1)) == sealed_value(1, 1, 1000));
    EXPECT_EQ(::mlockall(MCL_CURRENT), 0) << std::strerror(errno);
    for (std::uint64_t i = 0; i < 20'000; ++i) EXPECT_TRUE(client.put(entry_key(i), sealed_value(i, i, 1000)).ok());
    for (std::uint64_t i = 0; i < 20'000; ++i) EXPECT_TRUE(*client.get(entry_key(i)) == sealed_value(i, i, 1000));
    return testing::Test::HasFailure() ? EXIT_FAILURE : EXIT_SUCCESS;
  });
  EXPECT_EQ(locking.wait(), kSuccess);
  EXPECT_EQ(server.stat("read_fallbacks"), 0u);
  EXPECT_LE(server.stat("file_bytes"), server.stat("memory_bytes") + kHugePageSize);
}

// Its limit must hold the table at its maximum size and 2 MiB, once; also when it connects anew after its server has died.
TEST(LockedMemory, AnUnprivilegedClientNeedsTheSizeOfTheTableOnce) {
  constexpr uid_t kUser = 64101;
  constexpr rlim_t kMiB = rlim_t{1} << 20;
  constexpr rlim_t kAllowed = 8 * kMiB;  // twice the table of 4 MiB, or once with the 2 MiB, and 2 MiB for all else
  rlimit now{};
  ASSERT_EQ(::getrlimit(RLIMIT_MEMLOCK, &now), 0);
  if (!can_change_users() || now.rlim_max < kAllowed) GTEST_SKIP() << "the limit does not bind root, or is too low";
  const ServerSetup setup{unique_name()};
  const auto start = [&] {
    return std::make_unique<Server>(std::vector<std::string>{"10", "--memory", "512K", "--max-memory", "2M"}, setup);
  };
  Child locking = Child::fork_as(kUser, [&] {
    const auto allow = [](rlim_t bytes) {
      const rlimit limit{bytes, kAllowed};
      EXPECT_EQ(::setrlimit(RLIMIT_MEMLOCK, &limit), 0) << std::strerror(errno);
    };
    std::unique_ptr<Server> server = start();
    allow(kAllowed);
    EXPECT_EQ(::mlockall(MCL_FUTURE), 0) << std::strerror(errno);
    allow(4 * kMiB);
    const Result<Client> refused = Client::connect(server->options());
    EXPECT_EQ(refused.status().code(), StatusCode::kFull);
    EXPECT_NE(refused.status().message().find("ulimit -l"), std::string_view::npos) << refused.status().message();
    allow(kAllowed);
    Client client = server->connect();
    for (int round = 0; round < 4; ++round) {
      EXPECT_TRUE(eventually([&] { return client.put("key", std::to_string(round)).ok(); })) << round;
      EXPECT_EQ(*client.get("key"), std::to_string(round));
      server->kill();
      server->remove_regions();
      server = start();
    }
    return 0;
  });
  EXPECT_EQ(locking.wait(), kSuccess);
}

// Erased memory can be used for any size, whether whole slabs became empty or holes remain in them.
TEST(FullTable, AnExhaustedSizeClassGivesWayToOthers) {
  Server server({"10", "--memory", "4M"});
  Client client = server.connect();
  const std::uint64_t small = fill_table(client, 104);
  ASSERT_GT(small, 10'000u);
  EXPECT_EQ(client.put("large", std::string(10'000, 'x')).code(), StatusCode::kFull);

  // Every other one is erased: there is room for another size class, or for as many of the same as before.
  for (std::uint64_t i = 0; i < small; i += 2) ASSERT_TRUE(client.erase(entry_key(i)).ok());
  EXPECT_TRUE(client.put("large", std::string(10'000, 'x')).ok());
  EXPECT_EQ(*client.get("large"), std::string(10'000, 'x'));
  for (std::uint64_t i = 1; i < small; i += 2) ASSERT_EQ(*client.get(entry_key(i)), sealed_value(i, i, 104)) << i;
  ASSERT_TRUE(client.erase("large").ok());
  for (std::uint64_t i = 0; i < small; i += 2) ASSERT_TRUE(client.put(entry_key(i), sealed_value(i, i, 104)).ok()) << i;

  // All are erased: other size classes can use the slabs.
  for (std::uint64_t i = 0; i < small; ++i) ASSERT_TRUE(client.erase(entry_key(i)).ok());
  const std::uint64_t large = fill_table(client, 10'000);
  EXPECT_GT(large * 10'000, small * 104 / 2) << "most of the memory is used again";
  for (std::uint64_t i = 0; i < large; ++i) ASSERT_TRUE(client.erase(entry_key(i)).ok());
  const std::uint64_t runs = fill_table(client, 100'000);
  EXPECT_GT(runs * 100'000, small * 104 / 2);
  for (std::uint64_t i = 0; i < runs; ++i) ASSERT_TRUE(client.erase(entry_key(i)).ok());
  EXPECT_GT(fill_table(client, 104), small / 2);
}

TEST(FullTable, AValueLargerThanTheTableIsRefusedAndItsStreamDiscarded) {
  Server server({"10", "--memory", "1M"});
  Client client = server.connect();
  ASSERT_TRUE(client.put("small", "value").ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client.put("large", std::string(5'000'000, 'x')).code(), StatusCode::kFull);
    EXPECT_EQ(*client.get("small"), "value");
    EXPECT_TRUE(client.put("small", "value").ok());
  }
  EXPECT_EQ(client.get("large").status().code(), StatusCode::kNotFound);
}

TEST(FullTable, RefusedStreamsOfManyClientsLeaveNoMemoryTaken) {
  Server server({"10", "--memory", "4M"});
  Client client = server.connect();
  const std::uint64_t before = server.stat("fragmented_bytes");
  for (int round = 0; round < 20; ++round) {
    Peer dying(server);
    dying.say("put large #1000000:1");
    if (round % 2 == 0) {
      EXPECT_EQ(dying.reply(), StatusCode::kOk);
    }
    dying.kill();
    ASSERT_TRUE(server.connections_come_to(1));
  }
  // An interrupted stream has freed its memory: another one of the same size still fits.
  const Status erased = client.erase("large");
  EXPECT_TRUE(erased.ok()) << erased.message();
  EXPECT_TRUE(client.put("other", std::string(1'000'000, 'x')).ok());
  EXPECT_TRUE(client.erase("other").ok());
  EXPECT_GE(server.stat("fragmented_bytes"), before);
}

}  // namespace
}  // namespace hostmap::test
