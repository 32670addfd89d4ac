// Files that hold dumps. A new one appears under its name only when it is complete and on the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <hostmap/status.hpp>

#include "base/unique_fd.hpp"

namespace hostmap {

// Writes PATH.PID.part beside PATH, and renames it at the end. Readable and writable by this user alone, as the map is.
class NewFile {
 public:
  // kInvalid: PATH exists and is not a regular file. kPermission, kFull, kInvalid: it cannot be created; the message says why.
  static Result<NewFile> create(const std::string& path);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  // Removes what is not finished.
  ~NewFile();

  Status write(std::string_view bytes);
  // Waits until the bytes are on the disk, and gives the file its name: what had the name is replaced.
  Status finish();

 private:
  NewFile(std::string path, std::string part, UniqueFd file) noexcept;

  std::string path_;
  std::string part_;  // empty: nothing to remove
  UniqueFd file_;
};

// Opens a file to read.
Result<UniqueFd> open_dump(const std::string& path);
// Writes all of the bytes to a file or pipe. `what`: as what it is named in the message.
Status write_dump(int file, std::string_view bytes, const std::string& what);
// Reads some, as DumpReader::Source does.
Result<std::size_t> read_dump(int file, std::span<char> room, const std::string& what);

}  // namespace hostmap
