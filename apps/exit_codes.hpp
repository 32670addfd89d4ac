// Exit codes of all programs; scripts depend on them.
#pragma once

#include <hostmap/status.hpp>

namespace hostmap::apps {

enum ExitCode : int {
  kExitDone = 0,
  kExitFalse = 1,  // not found, not equal, or a server that cannot serve
  kExitUsage = 2,
  kExitNoServer = 3,
  kExitRefused = 4,  // full, too large, not a number, no permission, another file in the place of a region
  kExitTimedOut = 5,
  kExitOtherVersion = 6,
};

// The exit code of a status of the library. kInvalid is a file in the server's place, such as a hard link: the program checks
// the words of its command line before.
inline ExitCode exit_code_of(StatusCode code) noexcept {
  switch (code) {
    case StatusCode::kOk:
      return kExitDone;
    case StatusCode::kNotFound:
    case StatusCode::kAlreadyExists:
    case StatusCode::kMismatch:
      return kExitFalse;
    case StatusCode::kNoServer:
    case StatusCode::kClosed:
      return kExitNoServer;
    case StatusCode::kTimeout:
      return kExitTimedOut;
    case StatusCode::kOtherVersion:
      return kExitOtherVersion;
    default:
      return kExitRefused;
  }
}

}  // namespace hostmap::apps
