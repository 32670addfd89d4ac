// What a server that died left behind: found, given up in front of its clients, removed.
//
// To be called with the journal's lock held: nobody else serves this name.
#pragma once

#include <cstdint>

#include <hostmap/status.hpp>

#include "shm/names.hpp"

namespace hostmap {

// Removes what stands under one of an instance's fixed names, if it is this user's. `existed`: there was something.
// Errors: kPermission, kInvalid.
Status remove_left_over_file(const std::string& path, bool& existed);

// Sets `closed` in the table and the connections, wakes whoever sleeps on them, and unlinks everything but the journal.
// Returns the number of regions found. kOtherVersion: regions of another layout version, untouched; kPermission,
// kInvalid: something of this name that is not ours to remove.
Result<std::uint64_t> discard_left_over_regions(const InstanceName& name);

}  // namespace hostmap
