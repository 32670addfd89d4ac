// Names in /dev/shm that belong to one test process, so that tests run beside each other and each one answers for what it
// leaves behind.
#pragma once

#include <string>
#include <vector>

namespace hostmap::test {

// "hm-test-<pid>-": whatever begins so is this test process's to remove. In a forked child it is the parent's prefix: make
// names before the fork, or the child makes the same ones again.
const std::string& name_prefix();

// A fresh instance name, "hm-test-<pid>-<n>".
std::string unique_name();

// A fresh file name in /dev/shm, with its path.
std::string unique_path();

// Paths of what there is now in /dev/shm under this process's prefix, sorted.
std::vector<std::string> files_of_this_process();

// Removes a file or an empty folder; a missing one is no error.
void remove_path(const std::string& path);

}  // namespace hostmap::test
