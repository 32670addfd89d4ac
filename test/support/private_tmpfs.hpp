// A small tmpfs in place of /dev/shm, visible to one child only.
#pragma once

#include <string>

namespace hostmap::test {

// To be called in a child: its /dev/shm becomes a new tmpfs with these mount options ("size=64k", "nr_inodes=16"), which
// ends with the child. False: the system does not allow it.
bool replace_dev_shm(const std::string& options);

// Can children do that here? If not, tests that need it are skipped.
bool can_replace_dev_shm();

}  // namespace hostmap::test
