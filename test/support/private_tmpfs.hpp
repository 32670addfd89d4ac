// A tmpfs as small as a test needs it, in place of /dev/shm and seen by one child alone.
#pragma once

#include <string>

namespace hostmap::test {

// In a child: from here on its /dev/shm is a new tmpfs with the mount options given ("size=64k", "nr_inodes=16"). It is
// gone with the child. False: the system does not allow it.
bool replace_dev_shm(const std::string& options);

// May children do that here? If not, what needs it cannot be shown: skip.
bool can_replace_dev_shm();

}  // namespace hostmap::test
