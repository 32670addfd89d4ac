#include "process/harness/program.hpp"

#include <array>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <grp.h>
#include <poll.h>
#include <stdexcept>
#include <sys/prctl.h>
#include <unistd.h>

namespace hostmap::test {

namespace {

void drain(int fd, std::string& into) {
  std::array<char, 4096> buffer;
  for (ssize_t got; (got = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    into.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

// The folder of the project's programs, opened before main and so before any change of user: another user, also a forked child
// that has become one, may not be able to reach the checkout.
const std::filesystem::path kFolder = std::filesystem::path(program("any")).parent_path();
const UniqueFd kOpenFolder(::open(kFolder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));

// The file of a command that is given by its path; none: execvp searches for it.
UniqueFd open_image(const std::filesystem::path& command) {
  if (!command.is_absolute()) return {};
  if (command.parent_path() != kFolder) return UniqueFd(::open(command.c_str(), O_RDONLY | O_CLOEXEC));
  return UniqueFd(::openat(kOpenFolder.get(), command.filename().c_str(), O_RDONLY | O_CLOEXEC));
}

}  // namespace

Program::Program(std::vector<std::string> command, const ProcessSetup& setup) : command_(std::move(command)) {
  command_.insert(command_.begin(), setup.wrapper.begin(), setup.wrapper.end());
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0 ||
      ::pipe2(err.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("no pipe for a program");
  }
  const UniqueFd child_in(in[0]);
  const UniqueFd child_out(out[1]);
  const UniqueFd child_err(err[1]);
  in_ = UniqueFd(in[1]);
  out_ = UniqueFd(out[0]);
  err_ = UniqueFd(err[0]);
  for (const int fd : {out[0], err[0]}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  std::vector<char*> arguments;
  for (std::string& argument : command_) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const UniqueFd image = open_image(command_[0]);
  child_ = Child::fork([&] {
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    ::dup2(err[1], STDERR_FILENO);
    for (const std::string& variable : setup.environment) ::putenv(const_cast<char*>(variable.c_str()));
    if (setup.user) {
      const uid_t user = *setup.user;
      if (::setgroups(setup.groups.size(), setup.groups.data()) != 0 || ::setresgid(user, user, user) != 0 ||
          ::setresuid(user, user, user) != 0) {
        return kChildSetupFailed;
      }
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // the change of user has reset it
    }
    for (const auto& [what, value] : setup.limits) {
      const rlimit limit{value, value};
      if (::setrlimit(static_cast<__rlimit_resource_t>(what), &limit) != 0) return kChildSetupFailed;
    }
    if (image) {
      ::fexecve(image.get(), arguments.data(), environ);
    } else {
      ::execvp(arguments[0], arguments.data());
    }
    return kChildSetupFailed;
  });
}

void Program::say(std::string_view line) const {
  const std::string text = std::string(line) + "\n";
  if (::write(in_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw std::runtime_error("cannot speak to " + command_line());
  }
}

std::string Program::hear(std::chrono::milliseconds watchdog) {
  std::optional<std::string> line = next_line(watchdog);
  if (!line) throw std::runtime_error(command_line() + " said nothing more; on stderr: " + errors());
  return *line;
}

std::optional<std::string> Program::next_line(std::chrono::milliseconds watchdog) {
  const auto end = std::chrono::steady_clock::now() + watchdog;
  for (;;) {
    const bool ended = !child_.running();
    pump();
    if (const std::size_t at = output_.find('\n', heard_); at != std::string::npos) {
      std::string line = output_.substr(heard_, at - heard_);
      heard_ = at + 1;
      return line;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (ended || left.count() <= 0) return std::nullopt;
    wait_for_output(std::min<std::chrono::milliseconds>(left, std::chrono::milliseconds(100)));
  }
}

Exit Program::wait(std::chrono::milliseconds watchdog) {
  const auto end = std::chrono::steady_clock::now() + watchdog;
  while (child_.running() && std::chrono::steady_clock::now() < end) {
    wait_for_output(std::chrono::milliseconds(20));
    pump();
  }
  const Exit exit = child_.wait(std::chrono::seconds(1));  // it has ended or must be killed
  pump();
  return exit;
}

Exit Program::kill() {
  const Exit exit = child_.kill_and_wait();
  pump();
  return exit;
}

const std::string& Program::output() {
  pump();
  return output_;
}

const std::string& Program::errors() {
  pump();
  return errors_;
}

std::string Program::command_line() const {
  std::string line;
  for (const std::string& word : command_) line += (line.empty() ? "" : " ") + word;
  return line;
}

void Program::pump() {
  drain(out_.get(), output_);
  drain(err_.get(), errors_);
}

void Program::wait_for_output(std::chrono::milliseconds limit) const {
  std::array<pollfd, 2> events{{{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}}};
  ::poll(events.data(), events.size(), static_cast<int>(limit.count()));
  // A closed pipe is ready at once, and stays so.
  if (((events[0].revents | events[1].revents) & POLLIN) == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Ran run(std::vector<std::string> command, const ProcessSetup& setup) {
  Program started(std::move(command), setup);
  started.close_input();
  const Exit exit = started.wait();
  return {exit, started.output(), started.errors()};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace hostmap::test
