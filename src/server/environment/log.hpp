// Log: the sink of a server's log lines.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace hostmap {

// Clients can cause some lines without limit, and choose the numbers and paths in them. Therefore such a line comes with
// its kind, a string literal, and the log's writer counts by kind. Lines that a server writes once have no kind.
class Log {
 public:
  using Write = std::function<void(std::string_view kind, const std::string& line)>;

  explicit Log(Write write) : write_(std::move(write)) {}

  void operator()(const std::string& line) const { write_({}, line); }
  void operator()(std::string_view kind, const std::string& line) const { write_(kind, line); }

 private:
  Write write_;
};

}  // namespace hostmap
