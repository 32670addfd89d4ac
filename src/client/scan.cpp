#include <algorithm>

#include <hostmap/client.hpp>
#include <hostmap/scan.hpp>

#include "layout/region.hpp"

namespace hostmap {

namespace {

// A page has about so many bytes, whatever the size of the values; and no more keys, which bounds how old a value can be.
constexpr std::size_t kPageBytes = 64 * 1024;
constexpr std::size_t kFirstKeys = 16;
constexpr std::size_t kMostKeys = 256;

}  // namespace

// No key begins with more bytes than a key can have, so they are not copied: a size that nothing has would need all memory.
Scan::Scan(Client& client, Bytes prefix, What what)
    : client_(&client),
      prefix_(reinterpret_cast<const char*>(prefix.data()), prefix.size() <= kMaxKeyBytes ? prefix.size() : 0),
      what_(what),
      has_more_(prefix.size() <= kMaxKeyBytes),
      limit_(kFirstKeys) {}

bool Scan::next() noexcept {
  key_ = value_ = {};
  status_ = StatusCode::kOk;
  try {
    while (item_ == sizes_.size()) {
      if (!has_more_ || !read_page()) return false;
    }
  } catch (...) {
    status_ = Status::out_of_memory();
    return false;
  }
  const auto [key_size, value_size] = sizes_[item_++];
  key_ = std::string_view(page_).substr(offset_, key_size);
  value_ = std::string_view(page_).substr(offset_ + key_size, value_size);
  offset_ += key_size + value_size;
  return true;
}

// If it fails or throws, the page is empty, and the cursor is still that of its beginning.
bool Scan::read_page() {
  struct Page {  // empty unless it is complete
    ~Page() {
      if (!complete) scan.sizes_.clear();
    }
    Scan& scan;
    bool complete = false;
  };
  Page page{*this};
  page_.clear();
  sizes_.clear();
  item_ = 0;
  offset_ = 0;
  const auto add = [this](std::string_view key, std::string_view value) {
    page_.append(key).append(value);
    sizes_.emplace_back(key.size(), value.size());
  };
  const Result<std::uint64_t> cursor =
      what_ == What::kKeys
          ? client_->scan_from(cursor_, limit_, prefix_, [&add](std::string_view key) { add(key, {}); })
          : client_->scan_from(cursor_, limit_, prefix_, add);
  if (!cursor) {
    status_ = cursor.status();
    return false;
  }
  cursor_ = *cursor;
  has_more_ = cursor_ != 0;
  page.complete = true;
  if (!sizes_.empty()) {
    const std::size_t bytes_of_a_key = page_.size() / sizes_.size() + 1;
    limit_ = std::clamp(kPageBytes / bytes_of_a_key, std::size_t{1}, kMostKeys);
  }
  return true;
}

}  // namespace hostmap
