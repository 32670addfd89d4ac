// A worker without its thread, swept by the test, and clients on the same mapping.
#pragma once

#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include "../table/table_fixture.hpp"
#include "connection/client_end.hpp"
#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"
#include "server/run/worker.hpp"
#include "support/aligned_memory.hpp"

namespace hostmap::test {

inline constexpr std::uint64_t kRingBytes = 65536;

struct TestChannel {
  TestChannel(Worker& worker, Journal journal, const TableHeader& table, Bell& bell, IdleHints& hints,
              std::uint32_t index)
      : memory(connection_bytes(1, kRingBytes)), name(static_cast<char>('a' + index)) {
    ServerEnd::Identity identity;
    identity.id = index + 1;
    identity.serial = index + 1;
    identity.ring_bytes = kRingBytes;
    identity.index = index;
    server = ServerEnd::over(memory.data(), identity);
    ChannelMemos::clear(journal.position(index, 0));
    worker.add_channel(std::make_unique<ServerChannel>(*server, 0, journal.position(index, 0)));
    client = ClientEnd::over(memory.data(), false);
    Deadline deadline(std::chrono::seconds(30));
    channel = *client->channel(0, {table.lane_worker, table.workers, &bell, &hints}, nullptr, deadline);
  }
  std::span<const std::byte> key() const { return std::as_bytes(std::span(&name, 1)); }
  // Sends as many puts of `value_bytes` as its ring takes.
  void fill(std::uint64_t value_bytes) {
    const std::vector<std::byte> value(value_bytes);
    Deadline none(std::chrono::nanoseconds(0));
    while (channel->await_room(1 + value_bytes, none).ok()) {
      channel->send(Op::kPut, false, key(), value);
    }
  }
  std::uint64_t consumed() const { return server->control(0).requests_consumed.load(); }

  AlignedMemory memory;
  char name;  // its key
  std::unique_ptr<ServerEnd> server;
  std::unique_ptr<ClientEnd> client;
  ClientChannel* channel;
};

class WorkerByHand : public testing::Test {
 protected:
  explicit WorkerByHand(std::uint64_t memory = std::uint64_t{128} << 20)
      : table_({.memory = memory}),
        worker_(Worker::Surroundings{&table_.table(), &streams_, table_.journal(), table_.pieces(),
                                     &table_.header().workers[0], std::span(&bell_, 1), &hints_, false,
                                     &service_bell_.rings, 8, kRingBytes},
                0, {0}) {}
  TestChannel& connect() {
    channels_.push_back(std::make_unique<TestChannel>(worker_, table_.journal(), table_.header(), bell_, hints_,
                                                      static_cast<std::uint32_t>(channels_.size())));
    worker_.take_orders();
    return *channels_.back();
  }
  // In steps: what its client has sent is served first, a part of it each time.
  void drop(ServerEnd& end) {
    end.holders = 1;
    worker_.drop_channels(end);
    while (end.holders != 0) worker_.take_orders();
  }

  TestTable table_;
  Bell bell_{};
  IdleHints hints_{};
  Bell service_bell_{};
  StreamQuota streams_;
  std::vector<std::unique_ptr<TestChannel>> channels_;
  Worker worker_;
};

}  // namespace hostmap::test
