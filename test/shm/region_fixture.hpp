// Shared by the tests of regions: a region to attach to, and a check that a failed call left nothing open.
#pragma once

#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

#include "layout/region.hpp"
#include "shm/region.hpp"
#include "support/instance.hpp"

namespace hostmap::test {

inline constexpr std::uint64_t kIncarnation = 0x1234'5678;

// A complete region of one kind at a path of its own, removed at the end.
class RegionOnDisk {
 public:
  explicit RegionOnDisk(std::uint64_t bytes = 2 * kPageSize, mode_t mode = 0600) : path_(unique_path()) {
    Result<Region> region = Region::create(path_, bytes, mode);
    if (!region) throw std::runtime_error(std::string(region.status().message()));
    region_ = std::move(*region);
    if (!region_.populate(0, round_up(bytes, std::uint64_t{kPageSize})).ok()) throw std::runtime_error("no memory");
    region_.write_header(RegionKind::kTable, kIncarnation);
    region_.publish();
  }
  ~RegionOnDisk() { remove_path(path_); }

  const std::string& path() const { return path_; }
  Region& region() { return region_; }
  RegionHeader& header() { return region_.header(); }

 private:
  std::string path_;
  Region region_;
};

// A file with the given content at a path of its own.
class FileOnDisk {
 public:
  explicit FileOnDisk(const std::string& content, mode_t mode = 0600) : path_(unique_path()) {
    std::ofstream(path_, std::ios::binary) << content;
    ::chmod(path_.c_str(), mode);
  }
  ~FileOnDisk() { remove_path(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string content_of(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

inline int open_descriptors() {
  const auto list = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<int>(std::distance(begin(list), end(list)));
}

// Is any part of the file at `path` mapped in this process?
inline bool is_mapped(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(path) != std::string::npos) return true;
  }
  return false;
}

// Expects that `status` has `code` and that its message contains `words`.
inline void expect_error(const Status& status, StatusCode code, const std::string& words) {
  EXPECT_EQ(static_cast<int>(status.code()), static_cast<int>(code)) << status.message();
  EXPECT_NE(status.message().find(words), std::string_view::npos) << "'" << status.message() << "' without " << words;
}

}  // namespace hostmap::test
