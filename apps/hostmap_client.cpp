// hostmap-client: the load client of the sketch. Writes random values to one key of its own for some seconds without waiting
// for answers; then the key must have the last one; then it erases it.
#include <CLI/CLI.hpp>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include <hostmap/client.hpp>

#include "all/arguments.hpp"
#include "all/help.hpp"
#include "all/print.hpp"
#include "all/standard_streams.hpp"
#include "exit_codes.hpp"
#include "shm/names.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::apps;

constexpr std::string_view kProgram = "hostmap-client";
constexpr std::uint64_t kKeysPerClient = 2048;
// The clock is read once for so many writes: one reading costs as much as several of them.
constexpr int kWritesPerLook = 256;

// Keys and values of the load client: 8 bytes, little-endian like everything in hostmap.
std::array<std::byte, 8> bytes_of(std::uint64_t word) noexcept {
  std::array<std::byte, 8> bytes;
  std::memcpy(bytes.data(), &word, sizeof word);
  return bytes;
}

// xorshift64* (Vigna, 2014): a random value in about a nanosecond.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed | 1) {}
  std::uint64_t next() noexcept {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545'f491'4f6c'dd1d;
  }

 private:
  std::uint64_t state_;
};

}  // namespace

int main(int argc, char** argv) {
  guard_standard_streams(kExitRefused);
  std::string id_text;
  double seconds = 10;
  Options options;
  CLI::App app{"Writes random values to one key of its own, reads the last one back and erases the key.",
               "hostmap-client"};
  add_help_and_version(app);
  app.add_option("ID", id_text, "number of this client; its key is ID * 2048 + a random number below 2048")->required();
  app.add_option("--seconds", seconds, "how long to write (default: 10)")->type_name("SECONDS");
  app.add_option("--name", options.name, "name of the instance (default: distributed-memory)")->type_name("NAME");
  app.add_option("--dir", options.dir, "folder of the shared memory files (default: /dev/shm)")->type_name("DIR");
  app.add_option("--group", options.group, "trust servers of other users that share their map with this group")
      ->type_name("GROUP");
  app.add_option("--user", options.user,
                 "trust servers of this user; without it, only those of root and of your own user")
      ->type_name("USER");
  app.add_flag("--wait", options.wait_for_server, "if no server runs, wait for one (at most 30 s)");
  if (const std::optional<ExitCode> code = parse(app, argc, argv)) return *code;
  if (id_text == "help") return print(kProgram, app.help());
  if (!(seconds > 0 && seconds <= 1e6))
    return fail(kProgram, "--seconds must be above 0 and at most 1000000; give another number", kExitUsage);
  std::uint64_t id = 0;
  const char* id_end = id_text.data() + id_text.size();
  if (const auto [rest, error] = std::from_chars(id_text.data(), id_end, id); error != std::errc() || rest != id_end) {
    return fail(kProgram, fmt::format("ID '{}' is not a number; give decimal digits", id_text), kExitUsage);
  }
  if (id > ~std::uint64_t{0} / kKeysPerClient - 1)
    return fail(kProgram, "ID is too large: its keys would not fit 64 bits; give a smaller number", kExitUsage);

  if (const auto instance = InstanceName::parse(options.name, options.dir, options.group, options.user); !instance) {
    return fail(kProgram, instance.status().message(), kExitUsage);
  }
  // Room in a ring may come only after 63 other clients had their turn on this processor.
  options.timeout = std::chrono::seconds(30);
  Result<Client> map = Client::connect(options);
  if (!map) return fail(kProgram, map.status());

  std::random_device device;
  Random random(std::uint64_t{device()} << 32 | device());
  const std::uint64_t key_number = id * kKeysPerClient + random.next() % kKeysPerClient;
  const std::array<std::byte, 8> key = bytes_of(key_number);
  std::uint64_t last = 0;
  std::uint64_t writes = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  do {
    for (int i = 0; i < kWritesPerLook; ++i) {
      last = random.next();
      const std::array<std::byte, 8> value = bytes_of(last);
      if (const Status status = map->put_async(std::span(key), std::span(value)); !status.ok()) {
        return fail(kProgram, status);
      }
    }
    writes += kWritesPerLook;
  } while (std::chrono::steady_clock::now() < end);
  if (const Status status = map->flush(); !status.ok()) return fail(kProgram, status);

  std::array<std::byte, 8> found;
  const Result<std::size_t> size = map->get_into(std::span(key), found);
  if (!size)
    return fail(kProgram, fmt::format("key {} after {} writes: {}", key_number, writes, size.status().message()),
                kExitFalse);
  if (*size != 8 || found != bytes_of(last)) {
    std::uint64_t other;
    std::memcpy(&other, found.data(), sizeof other);
    return fail(
        kProgram,
        fmt::format("key {} holds {} after {} writes, the last of which was {}", key_number, other, writes, last),
        kExitFalse);
  }
  if (const Status status = map->erase(std::span(key)); !status.ok()) return fail(kProgram, status);
  return print(kProgram, fmt::format("Done ({} writes)\n", writes));
}
