// Exit codes of all programs; scripts depend on them.
#pragma once

#include <hostmap/status.hpp>

namespace hostmap::apps {

enum ExitCode : int {
  kExitDone = 0,
  kExitFalse = 1,  // not found, not equal, or a server that cannot serve
  kExitUsage = 2,
  kExitNoServer = 3,
  kExitRefused = 4,  // full, too large, not a number, no permission, something else in the place of a region
  kExitTimedOut = 5,
  kExitOtherVersion = 6,
};

// Of what the library reports. kInvalid is a file in the server's place there, such as a hard link: what is wrong with the words of
// a command line is found before, by the program.
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
