// Versions: of the library, and of the layout of shared memory, which must be the same in a client and its server.
//
// The constants are those of the headers that a program was compiled with; commit() is that of the library that it was linked
// with.
#pragma once

#include <cstdint>
#include <string_view>

namespace hostmap {

/// Semantic version; below 1.0 a new minor version may break existing programs. CMakeLists.txt reads it from this line.
inline constexpr std::string_view kVersion = "0.1.0";

/// Version of the layout of shared memory. A client connects only to a server with the same one (kOtherVersion).
inline constexpr std::uint32_t kLayoutVersion = 2;

/// The git commit that the library was built from, followed by "-dirty" if files had been changed; "unknown" if it was built
/// from files without a repository. Never allocates.
std::string_view commit() noexcept;

}  // namespace hostmap
