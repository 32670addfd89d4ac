// SIGKILL at every instruction of the service thread while it accepts a client, and while it releases one that has closed or
// died: whatever a kill leaves, the next server accepts that client, loses no place, and leaves no region.
//
// As in restart_steps_test.cpp: one round of the service is stepped in a forked child, each distinct image is written under
// another name and recovered. Each client is a process of its own, because a lock distinguishes processes only.
#include <array>
#include <atomic>
#include <functional>
#include <gtest/gtest.h>
#include <thread>

#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "server/part_of_a_put.hpp"
#include "server/service_by_hand.hpp"
#include "slot/client_reservation.hpp"
#include "support/aligned_memory.hpp"
#include "support/child.hpp"
#include "support/stepper.hpp"
#include "wait/futex.hpp"

namespace hostmap::test {
namespace {

// The progress of a client, in memory that it shares with the test.
struct Progress {
  std::atomic<int> put{0};      // it is connected, and its put was answered
  std::atomic<int> may_end{0};  // it may leave
};

constexpr int kLeaveInMidRequest = 2;  // Progress::may_end

enum ClientExit : int { kInside = 0, kNotLetIn = 2, kNotAnswered = 3, kRefused = 4 };

// A client process: connects with the id that it has requested, or with another one, puts, waits, leaves.
int be_client(ServiceByHand& host, std::uint64_t asked, Progress& progress) {
  Deadline deadline(std::chrono::seconds(20));
  MasterView master = host.master();
  std::unique_ptr<ClientEnd> end;
  for (std::uint64_t id = asked; end == nullptr; id = 0) {
    if (deadline.left() == 0) return kNotLetIn;
    if (id != 0) {
      // A server died meanwhile: the request is still in the mailbox, or the answer is.
      while (master.mailbox(id).word.load() == mailbox_word(id, kMailboxAsked)) {
        if (deadline.left() == 0) return kNotLetIn;
        std::this_thread::yield();
      }
      if (master.mailbox(id).word.load() != mailbox_word(id, kMailboxReady)) continue;
    } else {
      const Result<std::uint64_t> reserved = reserve_connection(master, deadline);
      if (!reserved) {
        if (reserved.status() == StatusCode::kClosed) continue;
        return reserved.status() == StatusCode::kFull ? kRefused : kNotLetIn;
      }
      id = *reserved;
    }
    Result<std::unique_ptr<ClientEnd>> attached = ClientEnd::attach(host.path(id), id, 1, false);
    if (attached && confirm_attached(master, id).ok()) end = std::move(*attached);
  }
  const Result<ClientChannel*> channel = end->channel(0, host.regions.worker_view(), &master, deadline);
  if (!channel) return kNotAnswered;
  if (!(*channel)->send_any(Op::kPut, true, bytes_of("key"), bytes_of("value of a client"), deadline).ok()) {
    return kNotAnswered;
  }
  if (!(*channel)->await_answer(deadline).ok() || (*channel)->answer().code != StatusCode::kOk) return kNotAnswered;
  progress.put.store(1);
  while (progress.may_end.load() == 0) std::this_thread::yield();
  if (progress.may_end.load() == kLeaveInMidRequest) {
    std::byte* const region = reinterpret_cast<std::byte*>(&end->counters()) - offsetof(ConnectionHeader, client);
    send_part_of_a_put(region, (*channel)->sent(), "long", std::string(20'000, 'l'));
  }
  end->close();
  return kInside;
}

class ConnectionSteps : public testing::Test {
 protected:
  // Runs a client beside the host's rounds until it is connected. Returns the error, or "".
  static std::string comes_in(ServiceByHand& host, std::uint64_t asked, Progress& progress, Child& client) {
    EXPECT_TRUE(others_sleep());
    client = Child::fork([&] { return be_client(host, asked, progress); });
    while (progress.put.load() == 0 && client.running()) host.round();
    if (progress.put.load() != 0) return {};
    const Exit exit = client.wait();
    return exit == exited(kRefused)       ? "a client is refused"
           : exit == exited(kNotAnswered) ? "a client's put is not answered"
                                          : "a client is not let in";
  }

  // Lets the next server recover an image. Returns the error, or "". `asked`: the id whose client waits in its mailbox.
  std::string violation(const Image& image, std::uint64_t asked) {
    ServiceByHand next(image);
    if (next.regions.given_up() != 0) return "a connection could not be recovered";
    released_ += next.regions.released();
    for (const std::uint64_t id : {asked, std::uint64_t{0}}) {
      Progress& progress = fresh_progress();
      Child client;
      if (std::string what = comes_in(next, id, progress, client); !what.empty()) return what;
      progress.may_end.store(1);
      if (client.wait() != kSuccess) return "a client failed";
      next.now += 10 * kSecond;
      next.round();
      if (std::string what = next.remains(); !what.empty()) return what;
    }
    return {};
  }

  // Steps through `body`, which works on `host`, and recovers each distinct image. Prints a line.
  void every_kill_is_recovered_from(const char* name, ServiceByHand& host, std::uint64_t asked,
                                    const std::function<void()>& body) {
    std::vector<Image> images;
    const std::uint64_t steps = step_through(body, [&](std::uint64_t) { Image::add(images, view(host)); });
    ASSERT_GT(steps, 0u);
    ASSERT_GT(images.size(), 3u);
    EXPECT_TRUE(images.back().shows(view(host)));
    const std::size_t violations =
        count_violations(images, name, [&](const Image& image) { return violation(image, asked); });
    std::printf("%s: %lu instructions, %zu distinct images, %zu recoveries, %zu violations\n", name,
                static_cast<unsigned long>(steps), images.size(), images.size(), violations);
  }

  // A client connects and `goes`; the round in which the service releases it is stepped.
  void every_kill_after_a_client_has_gone(const char* name, const std::function<void(Progress&, Child&)>& goes) {
    ServiceByHand host;
    Progress& progress = fresh_progress();
    Child client;
    ASSERT_EQ(comes_in(host, 0, progress, client), "");
    const std::uint32_t rings = host.bell().load();
    goes(progress, client);
    ASSERT_FALSE(HasFailure());
    // The reaper's thread has noticed it and rung the bell. A client that closes rings it, too, but adds only one each time.
    constexpr std::uint32_t kMostRings = 16;
    while (host.bell().load() - rings <= kMostRings) std::this_thread::yield();
    every_kill_is_recovered_from(name, host, 0, [&] { host.round(); });
    EXPECT_TRUE(host.regions.name().connection_files().empty());
  }

  // The content of the instance's files, including the mailboxes and the one connection.
  View view(ServiceByHand& host) {
    View view = host.regions.view();
    view.parts[6] = {2, 0, {host.regions.master().data(), kMailboxesOffset + kPageSize}};
    const UniqueFd file(::open(host.path(Regions::kId).c_str(), O_RDONLY | O_CLOEXEC));
    view.sizes[3] = file ? static_cast<std::uint64_t>(::lseek(file.get(), 0, SEEK_END)) : kAbsent;
    const ssize_t got = file ? ::pread(file.get(), connection_.data(), connection_.size(), 0) : 0;
    view.parts[7] = {3, 0, std::span<const std::byte>(connection_).first(static_cast<std::size_t>(got))};
    return view;
  }
  Progress& fresh_progress() { return *new (memory_.data()) Progress; }

  std::uint64_t released_ = 0;  // by the next servers of all images

 private:
  const AlignedMemory memory_{kPageSize};
  std::vector<std::byte> connection_ = std::vector<std::byte>(request_ring_offset(1, 1, Regions::kRing));
};

TEST_F(ConnectionSteps, AServerKilledWhileItAcceptsAClient) {
  ServiceByHand host;
  const MasterView master = host.master();
  master.header().counter.store(Regions::kId);
  master.mailbox(Regions::kId).word.store(mailbox_word(Regions::kId, kMailboxAsked));
  every_kill_is_recovered_from("Connect", host, Regions::kId, [&] { host.service.round(host.now); });
  EXPECT_EQ(master.mailbox(Regions::kId).word.load(), mailbox_word(Regions::kId, kMailboxReady));
  EXPECT_EQ(released_, 0u) << "the next server continues the connection, or it was none yet";
}

TEST_F(ConnectionSteps, AServerKilledWhileItReleasesAClientThatClosed) {
  every_kill_after_a_client_has_gone("Close", [](Progress& progress, Child& client) {
    progress.may_end.store(1);
    EXPECT_EQ(client.wait(), kSuccess);
  });
}

TEST_F(ConnectionSteps, AServerKilledWhileItReleasesAClientThatDied) {
  every_kill_after_a_client_has_gone("Reap", [](Progress&, Child& client) { client.kill_and_wait(); });
}

// After some kills the pieces of the request are gone and the connection is not. That is not a loss: its client has left.
TEST_F(ConnectionSteps, AServerKilledWhileItReleasesAClientThatLeftInTheMiddleOfARequest) {
  every_kill_after_a_client_has_gone("CloseInMidRequest", [](Progress& progress, Child& client) {
    progress.may_end.store(kLeaveInMidRequest);
    EXPECT_EQ(client.wait(), kSuccess);
  });
  EXPECT_GT(released_, 0u);
}

}  // namespace
}  // namespace hostmap::test
