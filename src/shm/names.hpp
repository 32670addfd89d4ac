// Instance names and the files that they denote.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

#include <hostmap/status.hpp>

namespace hostmap {

inline constexpr std::string_view kDefaultDir = "/dev/shm";
inline constexpr gid_t kNoGroup = static_cast<gid_t>(-1);
inline constexpr uid_t kNoUser = static_cast<uid_t>(-1);

// Whose files are trusted, besides those of this user and of root. A process of root also trusts only its own.
struct Trust {
  gid_t group = kNoGroup;  // files that their owner shares with this group only
  uid_t user = kNoUser;    // files of this user
  bool everybody = false;  // all files: only to examine them, never to use them
};

// An instance: its folder and name, validated once, the group that shares it, if any, and another user who is trusted.
class InstanceName {
 public:
  // kInvalid unless `name` is [A-Za-z0-9._-]{1,64}, does not begin with '-' and is not . or .., and `group` and `user` are
  // the name or number of one; an empty `dir` is /dev/shm, an empty `group` or `user` none.
  static Result<InstanceName> parse(std::string_view name, std::string_view dir, std::string_view group = {},
                                    std::string_view user = {});

  const std::string& name() const noexcept { return name_; }
  const std::string& dir() const noexcept { return dir_; }
  gid_t group() const noexcept { return trust_.group; }
  const Trust& trust() const noexcept { return trust_; }

  const std::string& master() const noexcept { return master_; }
  const std::string& table() const noexcept { return table_; }
  const std::string& journal() const noexcept { return journal_; }
  const std::string& alive() const noexcept { return alive_; }
  std::string connection(std::uint64_t id) const { return path("-connection-" + std::to_string(id)); }
  // Is `file`, a name within dir(), a connection region of this instance?
  bool is_connection(std::string_view file) const;
  // The connection regions of this instance that exist now, by path.
  std::vector<std::string> connection_files() const;

 private:
  InstanceName(std::string name, std::string dir, Trust trust)
      : name_(std::move(name)),
        dir_(std::move(dir)),
        trust_(trust),
        master_(path("-master")),
        table_(path("-table")),
        journal_(path("-journal")),
        alive_(path("-alive")) {}
  std::string path(const std::string& suffix) const { return dir_ + "/" + name_ + suffix; }

  std::string name_;
  std::string dir_;
  Trust trust_;
  std::string master_;
  std::string table_;
  std::string journal_;
  std::string alive_;
};

}  // namespace hostmap
