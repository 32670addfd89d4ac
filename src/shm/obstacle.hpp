// Explains an error: why the system refused a file of an instance, whose file it is, and what to do about it.
#pragma once

#include <string>
#include <sys/types.h>

#include <hostmap/status.hpp>

namespace hostmap {

// strerror_r's text for a value of errno.
std::string error_text(int error);

// "alice", or the number where it has no name.
std::string user_name(uid_t user);
// "alice (1000)", or "1000" where that number has no name.
std::string user_text(uid_t user);

// Why `action` ("open", "create", "replace", "remove") of `path` failed with `error`, a value of errno. Examines the file
// that has this name now: its kind or its owner is often the reason. kPermission, kFull, kNoServer (there is no such file) or
// kInvalid.
Status obstacle(const std::string& action, const std::string& path, int error);

// kInvalid: the file has more than one name, and was created under another one.
Status hard_link(const std::string& path);

// kPermission: `path` belongs to `owner`, and this process starts no server over the files of others.
Status taken_by(const std::string& path, uid_t owner);

}  // namespace hostmap
