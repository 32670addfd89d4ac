#include "hostmap_server/line_writer.hpp"

#include <cstdint>
#include <cstdio>
#include <new>
#include <pthread.h>
#include <string_view>
#include <system_error>
#include <thread>
#include <unistd.h>

#include "all/write_all.hpp"

namespace hostmap::apps {

namespace {

constexpr const char* kPrefix = "hostmap-server: ";

}  // namespace

LineWriter::LineWriter() : queue_(std::make_shared<Queue>()) {
  try {
    std::thread thread([queue = queue_] { run(queue); });
    pthread_setname_np(thread.native_handle(), "log");
    thread.detach();  // it can be blocked in a write forever
  } catch (const std::system_error&) {
    has_thread_ = false;  // no server starts without threads, either: its message is written at once
  }
}

LineWriter::~LineWriter() {
  constexpr std::chrono::milliseconds kLastMoment{500};
  std::unique_lock<std::mutex> lock(queue_->mutex);
  queue_->ending = true;
  queue_->changed.notify_all();
  queue_->changed.wait_for(lock, kLastMoment, [this] { return queue_->lines.empty() && queue_->idle; });
}

void LineWriter::write(int descriptor, const std::string& text) noexcept {
  if (!has_thread_) {
    static_cast<void>(write_all(descriptor, text));
    return;
  }
  try {
    const std::lock_guard<std::mutex> lock(queue_->mutex);
    if (queue_->lines.size() >= kMostQueued) {
      ++queue_->lost;
      return;
    }
    queue_->lines.push_back({descriptor, text});
    queue_->changed.notify_all();
  } catch (const std::bad_alloc&) {
    const std::lock_guard<std::mutex> lock(queue_->mutex);
    ++queue_->lost;
  }
}

void LineWriter::log(std::string_view kind_name, const std::string& line) noexcept {
  try {
    std::string left_out;
    {
      const std::lock_guard<std::mutex> lock(kinds_mutex_);
      const auto now = std::chrono::steady_clock::now();
      Kind& kind = kinds_[kind_name];
      if (now - kind.since > kPeriod) {
        if (kind.left_out != 0) left_out = " (" + std::to_string(kind.left_out) + " such lines were left out)";
        kind = {now, 0, 0};
      }
      if (kind.written == kMostOfAKind) {
        ++kind.left_out;
        return;
      }
      ++kind.written;
    }
    write(STDERR_FILENO, kPrefix + line + left_out + "\n");
  } catch (const std::bad_alloc&) {
    const std::lock_guard<std::mutex> lock(queue_->mutex);
    ++queue_->lost;
  }
}

void LineWriter::run(const std::shared_ptr<Queue>& queue) noexcept {
  std::unique_lock<std::mutex> lock(queue->mutex);
  for (;;) {
    queue->idle = true;
    queue->changed.notify_all();
    queue->changed.wait(lock, [&] { return !queue->lines.empty() || queue->ending; });
    if (queue->lines.empty()) return;
    queue->idle = false;
    const Line line = std::move(queue->lines.front());
    queue->lines.pop_front();
    const std::uint64_t lost = queue->lost;
    lock.unlock();
    bool written = true;
    if (lost != 0 && line.descriptor == STDERR_FILENO) {
      char text[96];
      const int size = std::snprintf(text, sizeof text, "%s%llu lines could not be written and were lost\n", kPrefix,
                                     static_cast<unsigned long long>(lost));
      written = write_all(STDERR_FILENO, {text, static_cast<std::size_t>(size)}) == 0;
    }
    const bool told = written && lost != 0 && line.descriptor == STDERR_FILENO;
    written = written && write_all(line.descriptor, line.text) == 0;
    lock.lock();
    if (told) queue->lost -= lost;
    if (!written) ++queue->lost;
  }
}

}  // namespace hostmap::apps
