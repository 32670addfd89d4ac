// What distinguishes builds whose regions differ although their layout version is the same.
#pragma once

#include <cstdint>

namespace hostmap {

// A build with another hash or other structs, or that would take an entry in a larger block for damage, must not touch our
// regions. It is in the head of every region.
extern const std::uint64_t kFingerprint;

}  // namespace hostmap
