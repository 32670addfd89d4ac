// The regions that a dead server left: found, marked as given up for its clients, and removed.
//
// Call with the journal's lock held: no other server serves this name.
#pragma once

#include <cstdint>

#include <hostmap/status.hpp>

#include "shm/names.hpp"

namespace hostmap {

// Removes the file under one of an instance's fixed names, if it is this user's. `existed`: there was one.
// Errors: kPermission, kInvalid.
Status remove_left_over_file(const std::string& path, bool& existed);

// Sets `closed` in the table and the connections, wakes all that sleep on them, and unlinks everything but the journal.
// Returns the number of regions found. kOtherVersion: regions of another layout version, untouched; kPermission,
// kInvalid: a file of this name that is not ours to remove.
Result<std::uint64_t> discard_left_over_regions(const InstanceName& name);

}  // namespace hostmap
