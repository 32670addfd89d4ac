// Options::sleeping: it is called before and after each sleep of a call, and can end the call.
#include <atomic>
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/time.h>
#include <thread>
#include <vector>

#include <hostmap/client.hpp>
#include <hostmap/scan.hpp>

#include "process/harness/server.hpp"

namespace hostmap::test {
namespace {

// Says no at the end of one sleep, the first one of the thread that has called arm(), and never again.
class Hook {
 public:
  ~Hook() { EXPECT_EQ(sleeping_, 0); }
  void arm() { armed_ = std::this_thread::get_id(); }
  bool said_no() const { return armed_.load() == std::thread::id() && noes_ != 0; }
  int ends() const { return ends_; }
  Options attached_to(Options options) {
    options.sleeping = [](void* context, int begins) { return static_cast<Hook*>(context)->call(begins); };
    options.context = this;
    return options;
  }

 private:
  int call(int begins) {
    if (begins != 0) {
      ++sleeping_;
      return 1;  // ignored
    }
    EXPECT_GE(--sleeping_, 0);
    ++ends_;
    if (armed_.load() != std::this_thread::get_id()) return 0;
    armed_ = std::thread::id();
    ++noes_;
    return 1;
  }

  std::atomic<int> sleeping_{0};
  std::atomic<int> ends_{0};
  std::atomic<int> noes_{0};
  std::atomic<std::thread::id> armed_{};
};

std::atomic<int> alarms{0};

// A signal every 20 ms, whose handler does not let system calls begin again.
class Alarms {
 public:
  Alarms() {
    struct sigaction action {};
    action.sa_handler = [](int) { ++alarms; };
    ::sigaction(SIGALRM, &action, &before_);
    set(20'000);
  }
  ~Alarms() {
    set(0);
    ::sigaction(SIGALRM, &before_, nullptr);
  }
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;

 private:
  static void set(suseconds_t microseconds) {
    const itimerval every{{0, microseconds}, {0, microseconds}};
    ::setitimer(ITIMER_REAL, &every, nullptr);
  }
  struct sigaction before_ {};
};

struct Call {
  const char* name;
  std::function<Status(Client&)> make;
  std::function<Status(Client&)> prepare = {};
  Reads reads = Reads::kDirect;
};

Status queue_some(Client& client) { return client.put_async("queued", "v"); }

const std::vector<Call>& calls() {
  static const std::vector<Call> kCalls{
      {"put", [](Client& client) { return client.put("k", "v"); }},
      {"large put", [](Client& client) { return client.put("k", std::string(500'000, 'v')); }},
      {"put_async",
       [](Client& client) {
         Status status;
         while (status.ok()) status = client.put_async("k", std::string(100, 'v'));
         return status;
       }},
      {"flush",
       [](Client& client) {
         if (Status status = queue_some(client); !status.ok()) return status;
         return client.flush();
       }},
      {"erase", [](Client& client) { return client.erase("k"); }},
      {"get by ring", [](Client& client) { return client.get("k").status(); }, {}, Reads::kRing},
      {"get behind writes",
       [](Client& client) {
         if (Status status = queue_some(client); !status.ok()) return status;
         return client.get("queued").status();
       }},
      {"multi_get behind writes",
       [](Client& client) {
         if (Status status = queue_some(client); !status.ok()) return status;
         return client.multi_get({"queued", "queued"}).front().status();
       }},
      {"size behind writes",
       [](Client& client) {
         if (Status status = queue_some(client); !status.ok()) return status;
         return client.size().status();
       }},
      {"scan behind writes",
       [](Client& client) {
         if (Status status = queue_some(client); !status.ok()) return status;
         Scan scan(client);
         while (scan.next()) {
         }
         return scan.status();
       }},
      {"clear", [](Client& client) { return client.clear(); }},
      {"update",
       [](Client& client) {
         return client.update("k", [](std::optional<std::string_view>) { return std::optional<std::string>("v"); });
       }},
      {"compare_erase", [](Client& client) { return client.compare_erase("k", "v"); },
       [](Client& client) { return client.put("k", "v"); }},
      {"apply",
       [](Client& client) {
         const Operation operations[] = {Operation::put("a", "1"), Operation::put("b", "2")};
         Outcome outcomes[2];
         return client.apply(operations, outcomes);
       }},
      {"multi_put",
       [](Client& client) {
         return client.multi_put({{"a", "1"}, {"b", "2"}}).back();
       }},
      {"erase_prefix", [](Client& client) { return client.erase_prefix("k").status(); },
       [](Client& client) { return client.put("k", "v"); }},
      {"wait", [](Client& client) { return client.wait("k", "v", Options::kForever).status(); },
       [](Client& client) { return client.put("k", "v"); }},
      {"lease with patience",
       [](Client& client) { return client.lease("k", std::chrono::seconds(60), Options::kForever).status(); }},
      {"get_or_compute",
       [](Client& client) {
         return client.get_or_compute("absent", kForever, [] { return std::string("v"); }).status();
       }},
      {"compute_put", [](Client& client) { return client.compute_put("k", "v", 12345); }},
  };
  return kCalls;
}

class Sleeping : public testing::Test {
 protected:
  Client connect(Hook& hook, Reads reads = Reads::kDirect) {
    Result<Client> client = Client::connect(hook.attached_to(server_.options(Options::kForever, reads)));
    return std::move(client.value());
  }
  Server server_;
};

TEST_F(Sleeping, EachCallToAStoppedServerEndsWithTheFirstNo) {
  const Alarms signals;
  for (const Call& call : calls()) {
    SCOPED_TRACE(call.name);
    Hook hook;
    Client client = connect(hook, call.reads);
    if (call.prepare) {
      ASSERT_EQ(call.prepare(client), StatusCode::kOk);
    }
    server_.pause();
    hook.arm();
    EXPECT_EQ(call.make(client), StatusCode::kTimeout);
    EXPECT_TRUE(hook.said_no());
    server_.send(SIGCONT);
    // The client works on.
    EXPECT_EQ(client.put("later", "v"), StatusCode::kOk);
    EXPECT_EQ(client.clear(), StatusCode::kOk);
  }
}

TEST_F(Sleeping, AWaitForWhatAnotherClientDoesEndsWithTheFirstNo) {
  const Alarms signals;
  Hook hook;
  Client client = connect(hook);
  Client other = server_.connect();
  hook.arm();
  EXPECT_EQ(client.wait("k", std::nullopt, Options::kForever).status(), StatusCode::kTimeout);
  ASSERT_TRUE(other.lease("k", std::chrono::seconds(600)));
  hook.arm();
  EXPECT_EQ(client.lease("k", std::chrono::seconds(1), Options::kForever).status(), StatusCode::kAlreadyExists);
  hook.arm();
  EXPECT_EQ(client.compute_begin("k", std::chrono::seconds(1)).status(), StatusCode::kTimeout);
  EXPECT_TRUE(hook.said_no());
}

TEST_F(Sleeping, ConnectingEndsWithTheFirstNo) {
  const Alarms signals;
  Hook hook;
  server_.pause();
  hook.arm();
  EXPECT_EQ(Client::connect(hook.attached_to(server_.options(Options::kForever))).status(), StatusCode::kTimeout);
  server_.send(SIGCONT);
  Options nobody = hook.attached_to(server_.options(Options::kForever));
  nobody.name = unique_name();
  nobody.wait_for_server = true;
  hook.arm();
  EXPECT_EQ(Client::connect(nobody).status(), StatusCode::kNoServer);
  nobody.dir = "/dev/shm/" + unique_name();
  hook.arm();
  EXPECT_EQ(Client::connect(nobody).status(), StatusCode::kNoServer) << "there is no folder to watch";
  EXPECT_TRUE(hook.said_no());
}

TEST_F(Sleeping, ASignalCallsTheHookAtOnce) {
  // 40 signals take 0.8 s, in which the hook would be called twice without them.
  struct Counter {
    int ends = 0;
    int until = 0;
  } counter;
  Options options = server_.options(Options::kForever);
  options.sleeping = [](void* context, int begins) {
    auto& counted = *static_cast<Counter*>(context);
    counted.ends += begins == 0 ? 1 : 0;
    return begins == 0 && alarms.load() >= counted.until ? 1 : 0;
  };
  options.context = &counter;
  Client client = std::move(Client::connect(options).value());
  ASSERT_EQ(client.put("k", "v"), StatusCode::kOk);
  const Alarms signals;
  const auto expect_calls = [&](const std::function<Status()>& call) {
    counter = {0, alarms.load() + 40};
    EXPECT_EQ(call(), StatusCode::kTimeout);
    EXPECT_GE(counter.ends, 10);
  };
  expect_calls([&] { return client.wait("k", "v", Options::kForever).status(); });
  server_.pause();
  expect_calls([&] { return client.put("k", "w"); });
  expect_calls([&] { return Client::connect(options).status(); });
  server_.send(SIGCONT);
}

TEST_F(Sleeping, WithoutSignalsTheHookIsCalledFromTimeToTime) {
  Hook hook;
  Client client = connect(hook);
  server_.pause();
  const int before = hook.ends();
  std::thread continues([&] {
    EXPECT_TRUE(eventually([&] { return hook.ends() >= before + 3; }));
    server_.send(SIGCONT);
  });
  EXPECT_EQ(client.put("k", "v"), StatusCode::kOk);
  continues.join();
}

TEST_F(Sleeping, AThreadThatWaitsForAnotherOneOfItsClientEndsWithTheFirstNo) {
  Hook hook;
  Client client = connect(hook);
  ASSERT_EQ(client.put("k", "v"), StatusCode::kOk);  // this thread owns the turn to write
  server_.pause();
  const int before = hook.ends();
  std::thread second([&] {
    EXPECT_TRUE(eventually([&] { return hook.ends() > before; }));
    hook.arm();
    const Status status = client.put("k", "x");
    EXPECT_EQ(status, StatusCode::kTimeout);
    EXPECT_NE(status.message().find("another thread"), std::string_view::npos) << status;
    EXPECT_TRUE(hook.said_no());
    server_.send(SIGCONT);
  });
  EXPECT_EQ(client.put("k", "w"), StatusCode::kOk);
  second.join();
}

// A lock as that of an interpreter: whoever runs holds it, except while it sleeps. Nobody may wait for another thread with it held.
class InterpreterLock {
 public:
  static int call(void* context, int begins) {
    auto& lock = *static_cast<InterpreterLock*>(context);
    begins != 0 ? lock.mutex.unlock() : lock.mutex.lock();
    return 0;
  }
  std::timed_mutex mutex;
};

TEST_F(Sleeping, ThreadsUnderOneLockThatTheHookReleasesWaitForNobodyForever) {
  InterpreterLock lock;
  Options options = server_.options(Options::kForever);
  options.sleeping = InterpreterLock::call;
  options.context = &lock;
  lock.mutex.lock();
  Client client = std::move(Client::connect(options).value());
  lock.mutex.unlock();
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([&, number] {
      for (int i = 0; i < 200; ++i) {
        const std::lock_guard<std::timed_mutex> held(lock.mutex);
        EXPECT_EQ(client.put("k" + std::to_string(number), std::to_string(i)), StatusCode::kOk);
        if (i % 50 == number) {
          EXPECT_EQ(client.put("large", std::string(200'000, 'v')), StatusCode::kOk);
        }
        const auto changed = client.wait("k" + std::to_string(number), std::to_string(i), std::chrono::milliseconds(1));
        EXPECT_EQ(changed.status(), StatusCode::kTimeout);
      }
      ++done;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, 4);
}

}  // namespace
}  // namespace hostmap::test
