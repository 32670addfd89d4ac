// The commands of `hostmap`. Each does its work, prints, and returns the exit code.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <hostmap/options.hpp>

#include "shm/names.hpp"
#include "signal/termination.hpp"

namespace hostmap::apps {

// data.cpp: as clients of the map

// As it was given; nothing: it is read from standard input.
using Value = std::optional<std::string>;
// When a put or an erase applies: always, or in one of these cases.
struct Condition {
  std::optional<std::string> value;  // the key has this one
  std::optional<std::string> token;  // the key's value has this one; text
  bool absent = false;
  bool present = false;
};
// `ttl`: how long the key lives; kForever, kKeepTtl.
int put(const Options& options, std::string_view key, const Value& value, const Condition& condition,
        std::chrono::milliseconds ttl);
int append(const Options& options, std::string_view key, const Value& value);
int exchange(const Options& options, std::string_view key, const Value& value);
int get(const Options& options, std::string_view key, bool token);
int take(const Options& options, std::string_view key);
int expire(const Options& options, std::string_view key, std::chrono::milliseconds ttl);
int ttl(const Options& options, std::string_view key);
// What is awaited: that the key has this value, or another one or none, or is absent; nothing of these: that it changes.
struct Awaited {
  std::optional<std::string> value;
  std::optional<std::string> other_than;
  bool absent = false;
};
// Without one of these, prints the new value.
int wait(const Options& options, std::string_view key, const Awaited& awaited, std::chrono::nanoseconds timeout);
int erase(const Options& options, std::string_view key, const Condition& condition);
int erase_prefix(const Options& options, std::string_view prefix);  // prints how many keys it has removed
int exists(const Options& options, std::string_view key);
// `ttl`: how long KEY lives if it is new.
int increment(const Options& options, std::string_view key, const std::string& by, const std::string& initial,
              std::chrono::milliseconds ttl);
struct ScanFormat {
  bool values = false;
  bool raw = false;  // each key, and each value, unescaped and followed by a NUL
};
int scan(const Options& options, std::string_view prefix, ScanFormat format);
// Prints about `limit` keys from `cursor` on, then the cursor from which the next call continues.
int scan_part(const Options& options, std::string_view prefix, ScanFormat format, const std::string& cursor,
              const std::string& limit);
int clear(const Options& options);
int ping(const Options& options);

// dump.cpp: `path` - is standard output or input
int dump(const Options& options, const std::string& path);
int load(const Options& options, const std::string& path);
// Without `every` once, otherwise on and on, until SIGINT, SIGTERM or SIGHUP.
int save(const Options& options, const std::string& path, const std::optional<std::chrono::milliseconds>& every);

// statistics.cpp, check.cpp: from read-only mappings, without a connection
int stat(const InstanceName& name, bool json);
int check(const InstanceName& name, bool json);

// limit.cpp: prints the memory limit, or sets it to `size` if that is not empty
int limit(const InstanceName& name, const std::string& size);

// instances.cpp: from the files and locks of the instances
int list(const InstanceName& any, const Options& options, bool json);  // all instances in the folder of `any`
int stop(const InstanceName& name, TerminationWish wish, std::chrono::nanoseconds timeout);

}  // namespace hostmap::apps
