// --load: a new map begins with the keys of a dump. They are written before there are workers and clients, by the thread that
// starts the server: nobody sees a part of the map, and if the start fails or is killed, the map is discarded.
#pragma once

#include <hostmap/status.hpp>

#include "server/environment/log.hpp"
#include "server/environment/options.hpp"
#include "table/write/table.hpp"

namespace hostmap {

// Fills a new table from the dump options.load. Says how far it is in the table's header (for `hostmap ls`), to the service manager,
// and every five seconds in the log.
// Errors, each with the name of the file: those of the file and of the dump; kFull: the keys do not fit into the table; kInvalid: a
// value is longer than --max-value. kClosed: a signal to stop the server has arrived.
Status load_dump(Table& table, const CheckedOptions& options, const Log& log);

}  // namespace hostmap
