// Names in /dev/shm that belong to one test process, so that tests can run at the same time and each one is responsible for
// its own files.
#pragma once

#include <string>
#include <vector>

namespace hostmap::test {

// "hm-test-<pid>-": this test process must remove all files with this prefix. A forked child has its parent's prefix: make
// names before the fork, or the child makes the same ones again.
const std::string& name_prefix();

// A fresh instance name, "hm-test-<pid>-<n>".
std::string unique_name();

// A fresh file name in /dev/shm, with its path.
std::string unique_path();

// The paths in /dev/shm with this process's prefix, sorted.
std::vector<std::string> files_of_this_process();

// Removes a file or an empty folder; a missing one is not an error.
void remove_path(const std::string& path);

}  // namespace hostmap::test
