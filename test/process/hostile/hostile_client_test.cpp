// A client connects correctly and then writes what no correct client writes (fault cases 7 and 8 in
// docs/internals/failure-model.md). Its connection is closed and counted; other clients are not affected.
#include <chrono>
#include <functional>
#include <gtest/gtest.h>
#include <thread>

#include "layout/connection.hpp"
#include "process/harness/peer.hpp"
#include "process/harness/raw_connection.hpp"
#include "process/harness/server.hpp"
#include "support/seed.hpp"

namespace hostmap::test {
namespace {

// A header word as wire.hpp packs it, from fields that need not make sense.
std::uint64_t forged_word(std::uint64_t op, std::uint64_t flags, std::uint64_t key_field, std::uint64_t value_bytes) {
  return op | flags << 8 | key_field << 16 | value_bytes << 32;
}
constexpr std::uint64_t kPut = static_cast<std::uint64_t>(Op::kPut);
constexpr std::uint64_t kErase = static_cast<std::uint64_t>(Op::kErase);
constexpr std::uint64_t kGet = static_cast<std::uint64_t>(Op::kGet);
constexpr std::uint64_t kFlush = static_cast<std::uint64_t>(Op::kFlush);
constexpr std::uint64_t kStream = static_cast<std::uint64_t>(Op::kStream);
constexpr std::uint64_t kPiece = static_cast<std::uint64_t>(Op::kPiece);
constexpr std::uint64_t kCompareExchange = static_cast<std::uint64_t>(Op::kCompareExchange);
constexpr std::uint64_t kPutIf = static_cast<std::uint64_t>(Op::kPutIf);
constexpr std::uint64_t kEraseIf = static_cast<std::uint64_t>(Op::kEraseIf);
constexpr std::uint64_t kIncrement = static_cast<std::uint64_t>(Op::kIncrement);
constexpr std::uint64_t kClear = static_cast<std::uint64_t>(Op::kClear);
constexpr std::uint64_t kAdd = static_cast<std::uint64_t>(Op::kAdd);
constexpr std::uint64_t kLastOp = kAdd;

class HostileClient : public testing::Test {
 protected:
  using Attack = std::function<void(RawConnection&)>;

  explicit HostileClient(std::vector<std::string> arguments = {"10"})
      : server_(std::move(arguments)), bystander_(server_) {
    EXPECT_EQ(bystander_.put("bystander", "value"), StatusCode::kOk);
  }
  void TearDown() override {
    EXPECT_EQ(bystander_.get("bystander").text, Peer::told_of("value"));
    EXPECT_EQ(bystander_.put("bystander", "again"), StatusCode::kOk);
    Peer newcomer(server_);
    EXPECT_EQ(newcomer.get("bystander").text, Peer::told_of("again"));
  }

  // The attacker is closed, counted once, and its connection is gone.
  void expect_closed(const std::string& what, const Attack& attack) {
    SCOPED_TRACE(what);
    const std::uint64_t poisoned = server_.stat("poisoned");
    const auto connection = RawConnection::connected(server_.instance());
    attack(*connection);
    EXPECT_TRUE(eventually([&] { return connection->closed_by_server(); })) << "the server still serves it";
    EXPECT_TRUE(server_.connections_come_to(1));
    EXPECT_EQ(server_.stat("poisoned"), poisoned + 1);
  }
  // The forgery harms the client itself and nothing else.
  void expect_ignored(const std::string& what, const Attack& attack) {
    SCOPED_TRACE(what);
    const std::uint64_t puts = server_.stat("puts");
    const auto connection = RawConnection::connected(server_.instance());
    attack(*connection);
    connection->wake_worker();
    EXPECT_EQ(bystander_.put("bystander", "value"), StatusCode::kOk);
    EXPECT_EQ(server_.stat("puts"), puts + 1);
    connection->header().client.closed.store(1);
    connection->ring_server();
    EXPECT_TRUE(server_.connections_come_to(1));
  }

  Server server_;
  Peer bystander_;
};

TEST_F(HostileClient, UnknownOperationsCloseTheConnection) {
  for (std::uint64_t op = kLastOp + 1; op < 256; op += op < 16 ? 1 : 17) {
    expect_closed("op " + std::to_string(op),
                  [op](RawConnection& c) { c.send_forged(forged_word(op, 1, 0, 0), "key"); });
  }
  expect_closed("op 0 with a size", [](RawConnection& c) { c.send_forged(forged_word(0, 0, 0, 8), "12345678"); });
  expect_closed("op 0 with a flag", [](RawConnection& c) { c.send_forged(forged_word(0, 1, 0, 0), "12345678"); });
}

TEST_F(HostileClient, ReservedBitsCloseTheConnection) {
  for (unsigned bit = 2; bit < 8; ++bit) {
    expect_closed("flag " + std::to_string(bit),
                  [bit](RawConnection& c) { c.send_forged(forged_word(kPut, 1u << bit, 2, 5), "keyvalue"); });
  }
  for (const std::uint64_t word : {forged_word(kFlush, 1, 1, 0),
                                   forged_word(kFlush, 1, 0, 1),
                                   forged_word(kPiece, 0, 1, 8),
                                   forged_word(kErase, 1, 2, 1),
                                   forged_word(kGet, 1, 2, 1),
                                   forged_word(kGet, 1, 2, 25),
                                   forged_word(kIncrement, 1, 2, 0),
                                   forged_word(kIncrement, 1, 2, 7),
                                   forged_word(kIncrement, 1, 2, 9),
                                   forged_word(kCompareExchange, 1, 2, 0),
                                   forged_word(kCompareExchange, 1, 2, 7),
                                   forged_word(kClear, 1, 1, 0),
                                   forged_word(kClear, 1, 0, 8),
                                   forged_word(kPutIf, 1, 2, 0),
                                   forged_word(kPutIf, 1, 2, 15),
                                   forged_word(kEraseIf, 1, 2, 15),
                                   forged_word(kEraseIf, 1, 2, 17),
                                   forged_word(kAdd, 1, 2, 0),
                                   forged_word(kAdd, 1, 2, 23),
                                   forged_word(kAdd, 1, 2, 25)}) {
    expect_closed("word " + std::to_string(word), [word](RawConnection& c) { c.send_forged(word, pattern(64, 1)); });
  }
}

TEST_F(HostileClient, ForgedLengthsCloseTheConnection) {
  const std::uint64_t ring = 65536;
  const std::uint64_t largest = max_record_bytes(ring) - kRecordHeadBytes;  // of a payload
  for (const std::uint64_t value :
       {largest - 2, largest - 1, largest, ring - 17, ring - 16, ring - 15, ring, ring + 1, std::uint64_t{1} << 31,
        (std::uint64_t{1} << 32) - 1, (std::uint64_t{1} << 32) - 16}) {
    // Together with the key: one byte above the limit of a record, and far above it.
    expect_closed("put of a value of " + std::to_string(value) + " bytes",
                  [value](RawConnection& c) { c.send_forged(forged_word(kPut, 1, 2, value), "key"); });
    expect_closed("piece of " + std::to_string(value + 3) + " bytes",
                  [value](RawConnection& c) { c.send_forged(forged_word(kPiece, 1, 0, value + 3), "key"); });
  }
  expect_closed("key of 65536 bytes",
                [](RawConnection& c) { c.send_forged(forged_word(kErase, 1, 0xffff, 0), "key"); });
  expect_closed("a record that reaches behind the ring's end", [](RawConnection& c) {
    while (c.producer().view().until_end(c.producer().head()) > 64) {
      c.send(Op::kFlush, false, "", "");
      ASSERT_TRUE(c.await_consumed(c.producer().head()));
    }
    c.send_forged(forged_word(kPut, 1, 2, 200), "key");
  });
}

TEST_F(HostileClient, ForgedComparisonsCloseTheConnection) {
  for (const std::uint64_t expected :
       {std::uint64_t{6}, std::uint64_t{1} << 31, std::uint64_t{1} << 32, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    expect_closed("5 bytes of values, " + std::to_string(expected) + " of them expected", [expected](RawConnection& c) {
      c.send_forged(forged_word(kCompareExchange, 1, 2, 13), "key" + word_key(expected) + "abcde");
    });
    expect_closed("a streamed one", [expected](RawConnection& c) {
      constexpr std::uint64_t kTotal = 20'000;
      c.send_forged(forged_word(kStream, 0, 2, kTotal - 3), word_key(kCompareExchange));
      const std::string first = "key" + word_key(expected == 6 ? kTotal : expected) + std::string(9'989, 'x');
      c.send_forged(forged_word(kPiece, 0, 0, first.size()), first);
      c.send_forged(forged_word(kPiece, 1, 0, kTotal - first.size()), std::string(kTotal - first.size(), 'y'));
    });
  }
}

TEST_F(HostileClient, UnknownFormsOfNumbersCloseTheConnection) {
  for (const std::uint64_t form : {std::uint64_t{4}, std::uint64_t{1} << 32, ~std::uint64_t{0}}) {
    expect_closed("form " + std::to_string(form), [form](RawConnection& c) {
      c.send_forged(forged_word(kAdd, 1, 2, 24), "key" + word_key(form) + word_key(1) + word_key(0));
    });
  }
}

TEST_F(HostileClient, MalformedStreamsCloseTheConnection) {
  const auto op_word = [](std::uint64_t op) { return word_key(op); };  // the stream's payload: 8 bytes
  expect_closed("a piece without a stream",
                [](RawConnection& c) { c.send_forged(forged_word(kPiece, 0, 0, 8), "12345678"); });
  for (const std::uint64_t flag : {1u, 2u}) {
    expect_closed("an empty piece with a flag", [&](RawConnection& c) {
      c.send_forged(forged_word(kStream, 0, 2, 100'000), op_word(kPut));
      c.send_forged(forged_word(kPiece, flag, 0, 0));
    });
  }
  expect_closed("a piece after an empty one", [&](RawConnection& c) {
    c.send_forged(forged_word(kStream, 0, 2, 100'000), op_word(kPut));
    c.send_forged(forged_word(kPiece, 0, 0, 0));
    c.send_forged(forged_word(kPiece, 0, 0, 8), "12345678");
  });
  expect_closed("a stream that fits a record",
                [&](RawConnection& c) { c.send_forged(forged_word(kStream, 0, 2, 100), op_word(kPut)); });
  expect_closed("a stream that wants an answer",
                [&](RawConnection& c) { c.send_forged(forged_word(kStream, 1, 2, 100'000), op_word(kPut)); });
  for (const std::uint64_t inner : {std::uint64_t{0}, kFlush, kStream, kPiece, kClear, kLastOp + 1, ~std::uint64_t{0},
                                    kPut | std::uint64_t{1} << 32}) {
    expect_closed("a stream of op " + std::to_string(inner),
                  [&](RawConnection& c) { c.send_forged(forged_word(kStream, 0, 2, 100'000), op_word(inner)); });
  }
  expect_closed("a streamed erase with a value",
                [&](RawConnection& c) { c.send_forged(forged_word(kStream, 0, 0xffff, 1), op_word(kErase)); });
  for (const std::uint64_t other : {kPut, kErase, kGet, kFlush, kStream}) {
    expect_closed("op " + std::to_string(other) + " between the pieces", [&](RawConnection& c) {
      c.send_forged(forged_word(kStream, 0, 2, 100'000), op_word(kPut));
      c.send_forged(forged_word(kPiece, 0, 0, 8), "12345678");
      c.send_forged(forged_word(other, 0, other == kFlush ? 0 : 2,
                                other == kPut      ? 5
                                : other == kStream ? 100'000
                                                   : 0),
                    other == kStream ? op_word(kPut) : "keyvalue");
    });
  }
  expect_closed("more than the stream announced", [&](RawConnection& c) {
    const std::string piece = pattern(10'000, 1);
    c.send_forged(forged_word(kStream, 0, 2, 20'000 - 4), op_word(kPut));
    c.send_forged(forged_word(kPiece, 0, 0, piece.size()), piece);
    c.send_forged(forged_word(kPiece, 0, 0, piece.size()), piece);
  });
  expect_closed("an answer wanted before the last piece", [&](RawConnection& c) {
    c.send_forged(forged_word(kStream, 0, 2, 100'000), op_word(kPut));
    c.send_forged(forged_word(kPiece, 1, 0, 8), "12345678");
  });
  EXPECT_EQ(server_.stat("entries"), 1u) << "none of them was applied";
}

class HostileClientOfFourLanes : public HostileClient {
 protected:
  HostileClientOfFourLanes() : HostileClient({"10", "--workers", "4"}) {}
};

TEST_F(HostileClientOfFourLanes, AKeyOfAnotherLaneClosesTheConnection) {
  const std::uint64_t puts = server_.stat("puts");
  std::uint64_t closed = 0;
  std::uint64_t served = 0;
  // The client has not read the seed: about three of four keys belong to a lane that channel 0 does not serve.
  for (int i = 0; (closed < 4 || served < 4) && i < 200; ++i) {
    const auto connection = RawConnection::connected(server_.instance());
    connection->send(Op::kPut, true, "key" + std::to_string(i), "value");
    const StatusCode code = connection->answer();
    ASSERT_TRUE(code == StatusCode::kOk || code == StatusCode::kClosed) << static_cast<int>(code);
    ++(code == StatusCode::kClosed ? closed : served);
    connection->header().client.closed.store(1);
    connection->ring_server();
    ASSERT_TRUE(server_.connections_come_to(1));
  }
  EXPECT_GE(closed, 4u);
  EXPECT_GE(served, 4u);
  EXPECT_EQ(server_.stat("poisoned"), closed);
  EXPECT_EQ(server_.stat("puts"), puts + served);
}

TEST_F(HostileClient, ForgedSequenceWordsAreNotMessages) {
  Random random;
  expect_ignored("random words everywhere in the request ring", [&](RawConnection& c) {
    const RingView ring = c.requests(0);
    for (std::uint64_t at = 0; at < ring.capacity(); at += 8) ring.word(at).store(random.word());
  });
  expect_ignored("tags of other positions", [&](RawConnection& c) {
    const RingView ring = c.requests(0);
    for (std::uint64_t at = 0; at < ring.capacity(); at += 16) {
      const std::uint64_t header = forged_word(kPut, 0, 0, 5);
      std::memcpy(ring.at(at) + 8, &header, 8);
      if (at != 0) ring.word(at).store(ring.tag(at + ring.capacity()));
    }
    ring.word(0).store(ring.tag(16));
  });
  expect_ignored("a tag without its nonce", [&](RawConnection& c) { c.requests(0).word(0).store(ring_tag(0, 1)); });
  expect_ignored("padding without end", [&](RawConnection& c) {
    for (std::uint64_t lap = 0; lap < 100; ++lap) {
      const RingView ring = c.requests(0);
      const std::uint64_t at = lap * ring.capacity();
      std::memset(ring.at(at) + 8, 0, 8);
      ring.word(at).store(ring.tag(at));
      c.wake_worker();
    }
  });
}

TEST_F(HostileClient, ForgedPositionsHarmOnlyTheForger) {
  const std::vector<std::uint64_t> positions{
      0, 1, 15, 65535, 65536, 65537, std::uint64_t{1} << 31, ~std::uint64_t{0}, ~std::uint64_t{0} - 65535};
  for (const std::uint64_t position : positions) {
    expect_ignored("answers consumed: " + std::to_string(position),
                   [&](RawConnection& c) { c.control().answers_consumed.store(position); });
    expect_ignored("requests consumed: " + std::to_string(position),
                   [&](RawConnection& c) { c.control().requests_consumed.store(position); });
    expect_ignored("wake at: " + std::to_string(position), [&](RawConnection& c) {
      c.control().wake_at.store(position);
      c.control().waiting.store(kWaitingForRoom);
    });
  }
  for (const std::uint32_t waiting : {1u, 2u, 3u, 0x8000'0000u, ~0u}) {
    expect_ignored("waiting: " + std::to_string(waiting),
                   [&](RawConnection& c) { c.control().waiting.store(waiting); });
  }
}

TEST_F(HostileClient, ForgedPositionsWhileWorkingHarmOnlyTheForger) {
  for (const std::uint64_t position : {std::uint64_t{0}, std::uint64_t{1} << 20, ~std::uint64_t{0}}) {
    const auto connection = RawConnection::connected(server_.instance());
    // More answers than their ring holds, none of them taken, and a false position each time.
    for (int i = 0; i < 10'000 && !connection->closed_by_server(); ++i) {
      connection->control().answers_consumed.store(position);
      connection->control().requests_consumed.store(position);
      connection->send(Op::kPut, true, "hostile", std::to_string(i));
    }
    EXPECT_EQ(bystander_.put("bystander", "value"), StatusCode::kOk);
    connection->header().client.closed.store(1);
    connection->ring_server();
    EXPECT_TRUE(server_.connections_come_to(1));
  }
}

TEST_F(HostileClient, ForgedConstantsAreIgnored) {
  const auto connection = RawConnection::connected(server_.instance());
  ConnectionHeader& header = connection->header();
  header.region.magic = 0;
  header.region.layout_version = 99;
  header.region.bytes = ~std::uint64_t{0};
  header.region.state.store(99);
  header.id = 1;
  header.serial = ~std::uint64_t{0};
  header.request_nonce = header.answer_nonce = 1;
  header.ring_bytes = std::uint64_t{1} << 40;
  header.lane_count = 64;
  header.server.channels_open.store(~std::uint64_t{0});
  header.server.channels_refused.store(~std::uint64_t{0});
  header.client.channels_wanted.store(~std::uint64_t{0});
  connection->ring_server();
  // Its own channel continues, because the server uses its own copy.
  connection->send(Op::kPut, true, "key", "value");
  EXPECT_EQ(connection->answer(), StatusCode::kOk);
  EXPECT_EQ(bystander_.get("key").text, Peer::told_of("value"));
  header.client.closed.store(1);
  connection->ring_server();
  EXPECT_TRUE(server_.connections_come_to(1));
  EXPECT_EQ(server_.stat("poisoned"), 0u);
}

TEST_F(HostileClient, ARecordRewrittenAfterItWasConsumedIsNotAppliedAgain) {
  const auto connection = RawConnection::connected(server_.instance());
  const RingView requests = connection->requests(0);
  connection->send(Op::kPut, true, "key", "first");
  EXPECT_EQ(connection->answer(), StatusCode::kOk);
  const std::uint64_t end = connection->producer().head();
  const auto bytes_at = [](const RingView& ring, std::uint64_t size) {
    return std::string(reinterpret_cast<const char*>(ring.at(0)), size);
  };
  const std::string old = bytes_at(requests, end);
  const std::string answer = bytes_at(connection->answers(0), 16);
  EXPECT_EQ(bystander_.put("key", "second"), StatusCode::kOk);
  const std::uint64_t puts = server_.stat("puts");

  // The same record again: in its place, with its own tag, with other bytes, and with the next position's tag.
  for (int i = 0; i < 100; ++i) {
    encode_request(requests.at(0), Op::kPut, true, RawConnection::bytes_of("key"), RawConnection::bytes_of("third"));
    requests.word(0).store(requests.tag(0));
    connection->control().requests_consumed.store(0);
    connection->control().answers_consumed.store(0);
    connection->wake_worker();
  }
  EXPECT_EQ(bystander_.get("key").text, Peer::told_of("second"));
  EXPECT_EQ(server_.stat("puts"), puts);
  EXPECT_EQ(bytes_at(connection->answers(0), 16), answer) << "the old answer stays";

  // The correct next record is applied once, from its own position.
  connection->send(Op::kPut, true, "key", "fourth");
  EXPECT_EQ(connection->answer(), StatusCode::kOk);
  EXPECT_EQ(bystander_.get("key").text, Peer::told_of("fourth"));
  EXPECT_EQ(server_.stat("puts"), puts + 1);

  // A whole lap later, the old record with its old tag is where a new one is expected; it is not taken for one.
  while (connection->producer().head() < requests.capacity()) {
    connection->send(Op::kFlush, true, "", "");
    ASSERT_EQ(connection->answer(), StatusCode::kOk);
  }
  ASSERT_EQ(connection->producer().head(), requests.capacity());
  std::memcpy(requests.at(0), old.data(), old.size());
  connection->wake_worker();
  EXPECT_EQ(connection->answer(std::chrono::milliseconds(100)), StatusCode::kTimeout);
  EXPECT_EQ(bystander_.get("key").text, Peer::told_of("fourth"));
  EXPECT_EQ(server_.stat("puts"), puts + 1);
  EXPECT_EQ(server_.stat("poisoned"), 0u);
  connection->header().client.closed.store(1);
  connection->ring_server();
  EXPECT_TRUE(server_.connections_come_to(1));
}

TEST_F(HostileClient, RecordsBeforeAForgedOneAreAppliedAndNoneAfterIt) {
  expect_closed("a forged record in the middle", [](RawConnection& c) {
    for (const char* key : {"one", "two"}) {
      c.write(Op::kPut, false, key, "value");
      c.producer().publish(record_bytes(8));
    }
    std::byte* record = c.producer().begin(32);
    const std::uint64_t word = forged_word(99, 0, 0, 16);
    std::memcpy(record + 8, &word, 8);
    c.producer().publish(32);
    c.send(Op::kPut, false, "six", "value");
  });
  EXPECT_EQ(bystander_.get("one").text, Peer::told_of("value"));
  EXPECT_EQ(bystander_.get("two").text, Peer::told_of("value"));
  EXPECT_EQ(bystander_.get("six"), StatusCode::kNotFound);
}

// An attacker whose second thread overwrites the whole connection at random while the first one sends correct and forged
// requests.
void fuzz(std::chrono::milliseconds time) {
  std::printf("%lld ms of fuzzing\n", static_cast<long long>(time.count()));
  Random random;
  for (const char* workers : {"1", "4"}) {
    Server server({"10", "--workers", workers, "--ring-size", "4096"});
    Program attacker({program("hostile_client"), server.name(), server.dir(), std::to_string(random.seed()),
                      std::to_string(time.count())});
    Peer direct(server);
    PeerSetup setup;
    setup.reads = Reads::kRing;
    Peer ring(server, setup);
    const std::string duration = std::to_string(time.count());
    direct.say("hammer direct " + duration);
    ring.say("hammer ring " + duration);
    // The model: everything that these two and the test put is present, whatever the attacker does to its own keys.
    Client client = server.connect();
    const auto end = std::chrono::steady_clock::now() + time;
    std::map<std::string, std::string> model;
    while (std::chrono::steady_clock::now() < end) {
      const std::string key = "model" + std::to_string(random.below(200));
      if (random.one_in(4)) {
        const Status erased = client.erase(key);
        ASSERT_EQ(erased.code(), model.erase(key) == 1 ? StatusCode::kOk : StatusCode::kNotFound);
      } else {
        const std::string value = pattern(random.below(3000), random.word());
        ASSERT_TRUE(client.put(key, value).ok());
        model[key] = value;
      }
      const std::string other = "model" + std::to_string(random.below(200));
      const Result<std::string> got = client.get(other);
      ASSERT_EQ(static_cast<bool>(got), model.contains(other));
      if (got) {
        ASSERT_TRUE(*got == model[other]);
      }
    }
    EXPECT_EQ(direct.reply(), StatusCode::kOk);
    EXPECT_EQ(ring.reply(), StatusCode::kOk);
    const std::string said = attacker.hear();
    std::printf("%s worker(s): %s\n", workers, said.c_str());
    EXPECT_EQ(attacker.wait(), kSuccess) << attacker.errors();
    EXPECT_TRUE(server.connections_come_to(3));
    EXPECT_GT(server.stat("poisoned"), 0u) << "nothing that was sent was hostile";
    for (const auto& [key, value] : model) EXPECT_TRUE(*client.get(key) == value) << key;
    EXPECT_EQ(direct.leave(), kSuccess);
    EXPECT_EQ(ring.leave(), kSuccess);
    // The attacker may have overwritten the counter of rescues, so it is not checked when this server stops.
    EXPECT_EQ(server.stop(), kSuccess) << server.errors();
    EXPECT_EQ(server.files(), std::vector<std::string>());
  }
}

TEST(HostileFuzz, RandomBytesInAConnectionHarmNobodyElse) { fuzz(std::chrono::milliseconds(1500)); }
TEST(HostileFuzzSlow, RandomBytesInAConnectionHarmNobodyElseForLong) { fuzz(std::chrono::seconds(30)); }

}  // namespace
}  // namespace hostmap::test
