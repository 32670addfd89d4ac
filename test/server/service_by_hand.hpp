// The service without its thread, over regions without a server: the test calls its rounds, and the worker's.
#pragma once

#include <string>
#include <utility>

#include "layout/master.hpp"
#include "layout/table.hpp"
#include "server/connections/service.hpp"
#include "server/restart_fixture.hpp"

namespace hostmap::test {

inline constexpr std::int64_t kMillisecond = 1'000'000;
inline constexpr std::int64_t kSecond = 1'000'000'000;

// A server without threads: the test calls its rounds.
class ServiceByHand {
 public:
  explicit ServiceByHand(std::uint32_t max_connections = Regions::kMaxConnections)
      : regions(2, false, max_connections), options(options_of(regions)), service(surroundings()) {}
  // The next server, which takes over `image`.
  explicit ServiceByHand(const Image& image)
      : regions(Regions::lay_out(image), false), options(options_of(regions)), service(surroundings()) {
    for (auto& end : regions.connections()) service.add(std::move(end));
  }

  // Each round examines all connections, because time passes.
  void round() {
    service.round(now += kMillisecond);
    regions.workers()[0]->take_orders();
    regions.work();
    service.round(now += kMillisecond);
  }
  MasterView master() {
    MasterView view(regions.master().data());
    view.set_mailboxes(view.header().mailbox_count);
    return view;
  }
  const HalfWord& bell() { return master().header().server_bell.rings; }
  std::string path(std::uint64_t id) const { return regions.name().connection(id); }
  // What is left of any connection; "" if nothing is.
  std::string remains() {
    if (service.connections() != 0) return "a connection without a client is kept";
    if (!regions.name().connection_files().empty()) return "a region is left";
    const Journal journal(regions.journal());
    for (std::uint32_t i = 0; i < options.max_connections; ++i) {
      if (journal.connection(i).serial.load() != 0) return "a place is lost";
    }
    for (std::uint32_t i = 0; i < master().mailboxes(); ++i) {
      if (mailbox_state(master().mailbox(i).word.load()) != kMailboxFree) return "a mailbox is lost";
    }
    return {};
  }

  Regions regions;
  CheckedOptions options;
  Service service;
  std::int64_t now = monotonic_ns();

 private:
  static CheckedOptions options_of(Regions& regions) {
    const TableHeader& table = regions.table().header();
    return {regions.name(),
            table.initial_buckets,
            memory_limit_of(table),
            table.max_memory,
            false,
            false,
            1,
            regions.max_connections(),
            Regions::kRing,
            table.max_value_bytes,
            Eviction::kNone,
            false,
            false,
            false,
            {},
            {}};
  }
  Service::Surroundings surroundings() {
    return {&options,
            &regions.master(),
            &regions.table(),
            -1,
            Journal(regions.journal()),
            &regions.workers(),
            Regions::kIncarnation,
            Log([](std::string_view, const std::string&) {}),
            [] {}};
  }
};

}  // namespace hostmap::test
