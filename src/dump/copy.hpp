// From a map to a dump, and from a dump to a map, through a Client.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <hostmap/client.hpp>

#include "dump/reader.hpp"
#include "dump/writer.hpp"

namespace hostmap {

struct DumpCount {
  std::uint64_t keys = 0;
  std::uint64_t lapsed = 0;  // of load: their time was over
  std::uint64_t bytes = 0;   // of the dump
  std::uint64_t hint = 0;    // about how many keys there are in all
};

// Called now and then. Its error ends the copying, which returns it.
using DumpProgress = std::function<Status(const DumpCount& count)>;

// Writes a dump of all keys, as Client::scan visits them, to `sink`. The ends of keys become wall-clock time. `name`: of the
// instance, for the head.
// Errors: those of scan, of `sink` and of `progress`; what was written is then no complete dump.
Result<DumpCount> dump_map(Client& client, const std::string& name, const DumpWriter::Sink& sink,
                           const DumpProgress& progress);

// Puts the keys of a dump into a map, over those that are there, a verified block at a time; skips those that have lapsed.
// Errors: those of DumpReader, of Client::apply and of a put, and those of `progress`, each with the number of keys that were
// loaded before; these stay.
Result<DumpCount> load_map(Client& client, DumpReader::Source source, const DumpProgress& progress);

}  // namespace hostmap
