#include "shm/obstacle.hpp"

#include <cerrno>
#include <cstring>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace hostmap {

namespace {

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == path.npos ? "/" : path.substr(0, slash);
}

}  // namespace

std::string error_text(int error) {
  char buffer[128];
  // The GNU form returns the text; it needs no locale and no lock.
  return strerror_r(error, buffer, sizeof buffer);
}

std::string user_name(uid_t user) {
  std::vector<char> space(1024);
  passwd found{};
  passwd* result = nullptr;
  while (::getpwuid_r(user, &found, space.data(), space.size(), &result) == ERANGE) space.resize(2 * space.size());
  return result == nullptr ? std::to_string(user) : found.pw_name;
}

std::string user_text(uid_t user) {
  const std::string name = user_name(user);
  const std::string number = std::to_string(user);
  return name == number ? number : name + " (" + number + ")";
}

Status taken_by(const std::string& path, uid_t owner) {
  return {StatusCode::kPermission, path + " belongs to user " + user_text(owner) +
                                       ", so the name is in use; choose another --name or --dir, run as that user, or "
                                       "have the file removed"};
}

Status hard_link(const std::string& path) {
  return {StatusCode::kInvalid, path + " is a hard link to a file that was made under another name: remove it (find " +
                                    folder_of(path) + " -samefile " + path + " shows the names)"};
}

Status obstacle(const std::string& action, const std::string& path, int error) {
  const std::string what = "cannot " + action + " " + path + ": " + error_text(error);
  switch (error) {
    case ENOENT:
      if (action == "create") {
        return {StatusCode::kInvalid,
                what + "; there is no folder " + folder_of(path) + "; create it or give another --dir"};
      }
      return {StatusCode::kNoServer, path + " does not exist"};
    case EROFS:
      return {StatusCode::kPermission,
              path +
                  " is on a read-only mount: a client can only read it (option read_only, --read-only), and a server "
                  "needs a folder in which it can write (--dir, or ReadWritePaths= of its unit)"};
    case EEXIST:
      return {StatusCode::kInvalid, path + " exists already"};
    case EMFILE:
    case ENFILE:
      return {StatusCode::kFull, "no file descriptor left for " + path + "; raise the limit (ulimit -n)"};
    case ENOMEM:
    case ENOBUFS:
    case ENOLCK:
      return {StatusCode::kFull, "the system has no memory to " + action + " " + path + "; free some"};
    case ENOSPC:
    case EDQUOT:
      return {StatusCode::kFull,
              "no room for another file beside " + path + " (df -i shows the inodes of the file system)"};
    default:
      break;
  }
  struct stat facts {};
  const bool there = ::lstat(path.c_str(), &facts) == 0;
  if (there && S_ISLNK(facts.st_mode)) {
    return {StatusCode::kInvalid, path + " is a symbolic link, not a region; remove it"};
  }
  if (there && S_ISDIR(facts.st_mode)) {
    return {StatusCode::kInvalid, path + " is a directory; remove it, or choose another --name"};
  }
  if (error == EACCES || error == EPERM) {
    if (there && facts.st_uid != ::geteuid()) return taken_by(path, facts.st_uid);
    if (there) return {StatusCode::kPermission, what + "; it is yours: set its mode to 0600, or remove it"};
    return {StatusCode::kPermission,
            what + "; you may not write to the folder " + folder_of(path) + "; choose another --dir"};
  }
  return {StatusCode::kInvalid, what};
}

}  // namespace hostmap
