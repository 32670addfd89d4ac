#include "rivals/lmdb.hpp"

#include <cstring>
#include <fmt/format.h>
#include <lmdb.h>
#include <stdexcept>
#include <string_view>

namespace hostmap::bench {
namespace {

/// Address space and the size of a file with holes, not memory: many times what the question loads.
constexpr std::size_t kMapBytes = std::size_t{4} << 30U;
constexpr mdb_mode_t kOnlyOwner = 0600;

void check(int error, std::string_view what) {
  if (error != MDB_SUCCESS) throw std::runtime_error(fmt::format("lmdb: {}: {}", what, mdb_strerror(error)));
}

/// LMDB takes pointers to what it does not change.
MDB_val value_of_bytes(std::span<const std::byte> bytes) {
  return {.mv_size = bytes.size(), .mv_data = const_cast<std::byte*>(bytes.data())};
}

void put_in(MDB_txn* transaction, unsigned database, std::span<const std::byte> key, std::span<const std::byte> value) {
  MDB_val key_value = value_of_bytes(key);
  MDB_val data = value_of_bytes(value);
  check(mdb_put(transaction, database, &key_value, &data, 0), "put");
}

}  // namespace

LmdbMap::LmdbMap(const std::string& folder, std::size_t key_bytes, LmdbReads reads) : reads_(reads) {
  check(mdb_env_create(&environment_), "create");
  check(mdb_env_set_mapsize(environment_, kMapBytes), "map size");
  check(mdb_env_open(environment_, folder.c_str(), MDB_NOSYNC | MDB_WRITEMAP | MDB_NOTLS, kOnlyOwner), "open");
  MDB_txn* opening = nullptr;
  check(mdb_txn_begin(environment_, nullptr, 0, &opening), "begin");
  const unsigned integer_keys = key_bytes == sizeof(std::size_t) ? MDB_INTEGERKEY : 0;
  check(mdb_dbi_open(opening, nullptr, MDB_CREATE | integer_keys, &database_), "database");
  check(mdb_txn_commit(opening), "commit");
  check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &reader_), "begin");
  if (reads_ == LmdbReads::kFresh) mdb_txn_reset(reader_);
}

LmdbMap::~LmdbMap() {
  if (writer_ != nullptr) mdb_txn_abort(writer_);
  mdb_txn_abort(reader_);
  mdb_env_close(environment_);
}

bool LmdbMap::get(std::span<const std::byte> key, std::span<std::byte> value) {
  if (reads_ == LmdbReads::kFresh) check(mdb_txn_renew(reader_), "renew");
  MDB_val key_value = value_of_bytes(key);
  MDB_val data{};
  const int error = mdb_get(reader_, database_, &key_value, &data);
  if (error == MDB_SUCCESS) {
    if (data.mv_size != value.size()) throw std::runtime_error("lmdb: a value has another size");
    std::memcpy(value.data(), data.mv_data, value.size());
  } else if (error != MDB_NOTFOUND) {
    check(error, "get");
  }
  if (reads_ == LmdbReads::kFresh) mdb_txn_reset(reader_);
  return error == MDB_SUCCESS;
}

void LmdbMap::put(std::span<const std::byte> key, std::span<const std::byte> value) {
  MDB_txn* transaction = nullptr;
  check(mdb_txn_begin(environment_, nullptr, 0, &transaction), "begin");
  put_in(transaction, database_, key, value);
  check(mdb_txn_commit(transaction), "commit");
}

void LmdbMap::put_later(std::span<const std::byte> key, std::span<const std::byte> value) {
  if (writer_ == nullptr) check(mdb_txn_begin(environment_, nullptr, 0, &writer_), "begin");
  put_in(writer_, database_, key, value);
}

void LmdbMap::finish() {
  MDB_txn* const transaction = writer_;
  writer_ = nullptr;  // a commit ends it, whether or not it succeeds
  if (transaction != nullptr) check(mdb_txn_commit(transaction), "commit");
}

}  // namespace hostmap::bench
