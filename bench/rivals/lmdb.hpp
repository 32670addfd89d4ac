// LMDB: a B+tree in a file that every process maps; readers take no lock, writers take turns.
//
// Configured as its own documents advise for speed where nothing must last: the file lies in a tmpfs (no disk),
// MDB_NOSYNC (no flush at a commit), MDB_WRITEMAP (pages are written in place, without a copy by write), MDB_NOTLS (a
// transaction keeps its place in the table of readers, without reading thread-local storage), keys of eight bytes as
// MDB_INTEGERKEY (compared as numbers). A read transaction is made once; mdb_txn_reset and mdb_txn_renew spare making
// it anew for each get.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

struct MDB_env;
struct MDB_txn;

namespace hostmap::bench {

/// Where its folders belong: always a tmpfs.
inline constexpr const char* kLmdbParent = "/dev/shm";

/// What a get returns. A read transaction is a snapshot: to return what others have written since, it must be renewed.
enum class LmdbReads : std::uint8_t {
  kFresh,     // renewed at each get: the last commit, as with every other contestant
  kSnapshot,  // never renewed: what was there in the beginning, and old pages are kept for it
};

/// The database in a folder, opened by this process. For one thread. Throws on any error.
class LmdbMap {
 public:
  LmdbMap(const std::string& folder, std::size_t key_bytes, LmdbReads reads = LmdbReads::kFresh);
  ~LmdbMap();
  LmdbMap(const LmdbMap&) = delete;
  LmdbMap& operator=(const LmdbMap&) = delete;

  /// False if the key is not there. Throws if its value has another size than `value`.
  [[nodiscard]] bool get(std::span<const std::byte> key, std::span<std::byte> value);
  /// A write transaction of its own; visible to others when this returns.
  void put(std::span<const std::byte> key, std::span<const std::byte> value);

  /// Many puts in one transaction, for loading; visible to others after finish().
  void put_later(std::span<const std::byte> key, std::span<const std::byte> value);
  void finish();

 private:
  MDB_env* environment_ = nullptr;
  MDB_txn* reader_ = nullptr;  // live with kSnapshot, else reset between gets
  MDB_txn* writer_ = nullptr;  // of put_later
  unsigned database_ = 0;
  LmdbReads reads_;
};

}  // namespace hostmap::bench
