// What a question is: the shape that the other files of this folder share. main.cpp lists them all.
//
// A question runs hostmap and its rivals on the same work in one run, interleaved, prints a table
// and adds its findings to the report. The processes that it needs are roles: this same program,
// exec'ed anew with `--role NAME ARGUMENT…` in front of everything else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hostmap::bench {

class FloorFigures;
class Progress;
class Report;

/// What the command line leaves to choose. Zero means: as the question sees fit.
struct Choices {
  unsigned rounds = 0;
  double seconds = 10;
  std::uint64_t max_entries = 10'000'000;

  /// `sizes`, ascending, up to max_entries, which stands for the first larger one. None twice.
  [[nodiscard]] std::vector<std::uint64_t> capped(std::span<const std::uint64_t> sizes) const {
    std::vector<std::uint64_t> some;
    for (const std::uint64_t size : sizes) {
      if (!some.empty() && some.back() == max_entries) break;
      some.push_back(std::min(size, max_entries));
    }
    return some;
  }
};

struct Session {
  const Choices& choices;
  FloorFigures& floors;
  Progress& progress;
  Report& report;
};

struct Question {
  std::string_view name;
  std::string_view summary;
  void (*ask)(Session&);
};

struct Role {
  std::string_view name;
  std::size_t arguments;  // how many; exactly
  int (*play)(std::span<char* const> arguments);
};

void ask_get(Session& session);
void ask_get_under_write(Session& session);
void ask_pages(Session& session);
void ask_readers(Session& session);
void ask_multi_get(Session& session);
void ask_put_sync(Session& session);
void ask_wake(Session& session);
void ask_crowd(Session& session);
void ask_occasional(Session& session);
void ask_peers(Session& session);
void ask_put_pipelined(Session& session);
void ask_growth(Session& session);
void ask_memory(Session& session);
void ask_values(Session& session);
void ask_load64(Session& session);
void ask_sync64(Session& session);
void ask_busy(Session& session);
void ask_hostile(Session& session);
void ask_intents(Session& session);
void ask_guards(Session& session);
void ask_restart(Session& session);
void ask_takeover(Session& session);
void ask_idle(Session& session);
void ask_instructions(Session& session);

int play_get_loader(std::span<char* const> arguments);
int play_get_reader(std::span<char* const> arguments);
int play_steady_writer(std::span<char* const> arguments);
int play_multi_get_reader(std::span<char* const> arguments);
int play_put_sync_client(std::span<char* const> arguments);
int play_put_sync_redis(std::span<char* const> arguments);
int play_wake_client(std::span<char* const> arguments);
int play_crowd_idle(std::span<char* const> arguments);
int play_occasional_flooder(std::span<char* const> arguments);
int play_occasional_client(std::span<char* const> arguments);
int play_sync64_client(std::span<char* const> arguments);
int play_peers_loader(std::span<char* const> arguments);
int play_peers_client(std::span<char* const> arguments);
int play_put_pipelined_client(std::span<char* const> arguments);
int play_put_pipelined_redis(std::span<char* const> arguments);
int play_growth_client(std::span<char* const> arguments);
int play_memory_churn(std::span<char* const> arguments);
int play_memory_refill(std::span<char* const> arguments);
int play_memory_redis(std::span<char* const> arguments);
int play_values_writer(std::span<char* const> arguments);
int play_values_reader(std::span<char* const> arguments);
int play_busy_client(std::span<char* const> arguments);
int play_busy_spinner(std::span<char* const> arguments);
int play_hostile(std::span<char* const> arguments);
int play_intents_client(std::span<char* const> arguments);
int play_restart_loader(std::span<char* const> arguments);
int play_takeover_client(std::span<char* const> arguments);
int play_idle_client(std::span<char* const> arguments);
int play_count(std::span<char* const> arguments);

}  // namespace hostmap::bench
