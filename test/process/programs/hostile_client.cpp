// hostile_client: connects correctly; then a second thread overwrites its connection at random while the first sends correct
// and forged requests. When the server closes it, it connects again.
//
//   hostile_client NAME DIR SEED MILLISECONDS
//
// At the end it prints how often it did each. Its keys begin with "hostile".
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <random>
#include <string>
#include <thread>

#include "layout/connection.hpp"
#include "process/harness/raw_connection.hpp"
#include "process/harness/sealed.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::test;
using Clock = std::chrono::steady_clock;

struct Counts {
  std::uint64_t connections = 0;
  std::uint64_t requests = 0;
  std::uint64_t scribbles = 0;
  std::uint64_t closed = 0;
};

// Any bytes but the client's own flag, which would end the connection normally.
void scribble(RawConnection& connection, std::mt19937_64& random) {
  const std::uint64_t at = random() % (connection.bytes() - 8);
  switch (random() % 8) {
    case 0: {  // a word of the head, where all the control words are
      const std::uint64_t word = random() % (connection_head_bytes(connection.lanes()) / 8);
      if (word == offsetof(ConnectionHeader, client) / 8) return;
      reinterpret_cast<Word*>(connection.memory())[word].store(random());
      return;
    }
    case 1: {  // a bit of the next request's header
      const std::uint64_t position = connection.producer().head();
      connection.requests(0).word(position + 8).fetch_xor(std::uint64_t{1} << random() % 64);
      return;
    }
    case 2:
      connection.control().requests_consumed.store(random() % 100'000);
      return;
    case 3:
      connection.control().answers_consumed.store(random() % 100'000);
      return;
    default:
      if (at < connection_head_bytes(connection.lanes())) return;
      reinterpret_cast<std::atomic<std::uint8_t>*>(connection.memory() + at)
          ->store(static_cast<std::uint8_t>(random()));
      return;
  }
}

void send_something(RawConnection& connection, std::mt19937_64& random) {
  const std::string key = "hostile" + std::to_string(random() % 20);
  const bool answer = random() % 2 == 0;
  switch (random() % 32) {
    default:
      return connection.send(Op::kPut, answer, key, pattern(random() % 900, random()));
    case 1:
    case 2:
    case 3:
      return connection.send(Op::kErase, answer, key, "");
    case 4:
    case 5:
    case 6:
      return connection.send(Op::kGet, true, key, "");
    case 7:
    case 8:
      return connection.send(Op::kFlush, answer, "", "");
    case 9: {  // the head of a stream, and perhaps a piece of it
      encode_stream(connection.producer().begin(32), Op::kPut, key.size(), 1000 + random() % 100'000);
      connection.publish(32);
      const std::string piece = pattern(1 + random() % 900, 1);
      encode_piece(connection.producer().begin(record_bytes(piece.size())), false, RawConnection::bytes_of(piece), {},
                   0, piece.size());
      return connection.publish(record_bytes(piece.size()));
    }
    case 10:  // any header word
      return connection.send_forged(random(), pattern(random() % 200, random()));
    case 11:  // a likely one
      return connection.send_forged(
          (random() % 8) | (random() % 2) << 8 | (random() % 64) << 16 | (random() % 2000) << 32,
          pattern(random() % 200, random()));
  }
}

Counts attack(const InstanceName& name, std::uint64_t seed, Clock::time_point end) {
  Counts counts;
  std::mt19937_64 random(seed);
  while (Clock::now() < end) {
    std::unique_ptr<RawConnection> connection = RawConnection::connected(name);
    ++counts.connections;
    std::atomic<bool> stop{false};
    std::thread scribbler([&connection, &stop, &counts, scribbler_seed = random()] {
      std::mt19937_64 own(scribbler_seed);
      while (!stop.load()) {
        scribble(*connection, own);
        ++counts.scribbles;
        if (own() % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(own() % 50));
      }
    });
    const auto until = std::min(end, Clock::now() + std::chrono::milliseconds(20 + random() % 100));
    while (Clock::now() < until && !connection->closed_by_server()) {
      send_something(*connection, random);
      ++counts.requests;
      if (random() % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 100));
    }
    if (connection->closed_by_server()) ++counts.closed;
    stop.store(true);
    scribbler.join();
    connection->header().client.closed.store(1);
    connection->ring_server();
  }
  return counts;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  try {
    const Counts counts = attack(*InstanceName::parse(argv[1], argv[2]), std::stoull(argv[3]),
                                 Clock::now() + std::chrono::milliseconds(std::stoll(argv[4])));
    std::printf("%llu connections, %llu closed by the server, %llu requests, %llu scribbles\n",
                static_cast<unsigned long long>(counts.connections), static_cast<unsigned long long>(counts.closed),
                static_cast<unsigned long long>(counts.requests), static_cast<unsigned long long>(counts.scribbles));
    return 0;
  } catch (const std::exception& error) {
    std::printf("failed: %s\n", error.what());
    return 1;
  }
}
