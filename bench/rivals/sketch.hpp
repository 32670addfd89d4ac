// The design that hostmap grew out of, rebuilt as a rival: start here, then sketch_ring.hpp,
// then sketch.cpp.
//
// A server owns a map with a fixed number of read-write-locked buckets and a master region with a
// counter of clients. A client increments the counter and creates the connection region of that
// number: two rings of 16 messages and a closed flag. The server polls the counter and gives each
// connection a thread of its own. Both ends wait by yielding the processor until the ring has room
// or a message. Inserts and deletes have no answer; a get is a message one way and a message back.
//
// Regions are /NAME-master and /NAME-connection-ID. The server unlinks a connection region as soon
// as it has mapped it, and all that is left when it stops; RegionGuard in the parent covers a
// server that was killed.
#pragma once

#include <span>
#include <string>
#include <utility>

namespace hostmap::bench::sketch {

/// The programs of this rival; each runs in a process of its own and returns its exit code. PAUSES
/// is how often an end pauses before it yields; the sketch is 0.
///   serve NAME BUCKETS PAUSES    prints "ready", serves until SIGTERM, prints the number of
///   inserts it applied load NAME ID SECONDS PAUSES  the load client: prints "Done (N writes)" idle
///   NAME ID                 connects, inserts one key, prints "connected", stays until end of
///   input
int serve(std::span<char* const> arguments);
int load(std::span<char* const> arguments);
int idle(std::span<char* const> arguments);

/// Unlinks every region of the name when it goes out of scope, whatever became of the server.
class RegionGuard {
 public:
  explicit RegionGuard(std::string name) : name_(std::move(name)) {}
  ~RegionGuard();
  RegionGuard(const RegionGuard&) = delete;
  RegionGuard& operator=(const RegionGuard&) = delete;

 private:
  std::string name_;
};

}  // namespace hostmap::bench::sketch
