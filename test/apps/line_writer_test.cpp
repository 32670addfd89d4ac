// LineWriter: which lines it omits.
#include "hostmap_server/line_writer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

#include "base/unique_fd.hpp"
#include "support/instance.hpp"

namespace hostmap::apps {
namespace {

// Returns what `work` writes to standard error.
template <typename Work>
std::string errors_of(const Work& work) {
  const std::string path = test::unique_path();
  const UniqueFd file(::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
  const UniqueFd before(::dup(STDERR_FILENO));
  ::dup2(file.get(), STDERR_FILENO);
  work();
  ::dup2(before.get(), STDERR_FILENO);
  std::string text(1 << 20, '\0');
  const ssize_t size = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  test::remove_path(path);
  return text;
}

std::size_t lines_in(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(LineWriterTest, LinesOfOneKindAreLimitedWhateverAClientPutsIntoThem) {
  const std::string text = errors_of([] {
    LineWriter writer;
    for (int i = 0; i < 200; ++i) {
      // No two lines are equal, not even without their digits.
      writer.log("refused", "refused /dev/shm/" + std::string(static_cast<std::size_t>(i) + 1, 'a'));
    }
  });
  EXPECT_EQ(lines_in(text), LineWriter::kMostOfAKind) << text;
}

TEST(LineWriterTest, AFrequentKindDoesNotSuppressAnother) {
  const std::string text = errors_of([] {
    LineWriter writer;
    for (int i = 0; i < 100; ++i) writer.log("frequent", "again");
    writer.log("rare", "something else");
  });
  EXPECT_EQ(lines_in(text), LineWriter::kMostOfAKind + 1);
  EXPECT_NE(text.find("hostmap-server: something else\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace hostmap::apps
