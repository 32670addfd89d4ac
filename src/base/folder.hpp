// Reads the names in a folder, through a descriptor that obeys UniqueFd's rule.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <memory>

#include "base/unique_fd.hpp"

namespace hostmap {

struct CloseFolder {
  void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

// Empty, and errno, if it cannot be opened.
inline Folder open_folder(const char* path) noexcept {
  UniqueFd fd(::open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return nullptr;
  Folder folder(::fdopendir(fd.get()));
  if (folder != nullptr) static_cast<void>(fd.release());
  return folder;
}

}  // namespace hostmap
