// Runs the cases of park_and_wake.pml, which describes what is modelled.
//
// The model is checked by the program that spin makes of it. The build makes two: one searches depth
// first, which is fast; the other breadth first, for a shortest way to a failure, which is printed.
// Without spin there is nothing to run, and the exit code 77 means that the test was skipped.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cases.hpp"

#ifdef HOSTMAP_PARK_SEARCH

namespace hostmap::models {
namespace {

// A folder of its own for each run: the search leaves its way to a failure in a file there.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_(std::filesystem::temp_directory_path() / "park_model.XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no temporary folder");
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<std::string> run(const std::string& folder, const std::string& rules, const std::string& command) {
  const std::string line = "cd '" + folder + "' && RULES='" + rules + "' " + command + " 2>&1";
  std::FILE* output = popen(line.c_str(), "r");
  if (output == nullptr) throw std::runtime_error("cannot run " + line);
  std::vector<std::string> lines(1);
  for (int byte = std::fgetc(output); byte != EOF; byte = std::fgetc(output)) {
    if (byte == '\n') {
      lines.emplace_back();
    } else {
      lines.back().push_back(static_cast<char>(byte));
    }
  }
  pclose(output);
  return lines;
}

bool contains(const std::string& line, std::string_view text) { return line.find(text) != std::string::npos; }

std::vector<std::string> shortest_way(const std::string& rules) {
  const TemporaryFolder folder;
  run(folder.path(), rules, "'" HOSTMAP_PARK_SHORTEST "' -m100000");
  std::vector<std::string> way;
  for (const std::string& line : run(folder.path(), rules, "'" HOSTMAP_PARK_SHORTEST "' -r -S")) {
    if (contains(line, "trail ends")) break;
    if (!contains(line, "pan:1:")) way.push_back(line);
  }
  return way;
}

std::string failure_of(const std::string& report) {
  if (contains(report, "invalid end state")) return "a process waits forever";
  if (contains(report, "answered")) return "all are asleep, but a request is not answered";
  if (contains(report, "passed_over")) return "an idle lane is passed over too often";
  return report;
}

Verdict check(const std::string& rules) {
  const TemporaryFolder folder;
  Verdict verdict;
  bool is_complete = false;
  bool has_errors = false;
  std::string report;
  for (const std::string& line : run(folder.path(), rules, "'" HOSTMAP_PARK_SEARCH "' -m200000 -w22")) {
    if (contains(line, "states, stored")) verdict.states = std::stoull(line);
    if (contains(line, "errors: ")) {
      is_complete = true;
      has_errors = !contains(line, "errors: 0");
    }
    if (contains(line, "pan:1:")) report = line;
    if (contains(line, "max search depth too small")) verdict.exhausted = true;
  }
  if (!is_complete) throw std::runtime_error("the search of park_and_wake.pml did not end");
  if (has_errors) {
    verdict.failure = failure_of(report);
    verdict.way = [rules] { return shortest_way(rules); };
  }
  return verdict;
}

// How many requests the two clients make: "2,1".
struct Requests {
  const char* quick;
  const char* full;
};

Case make_case(bool must_hold, std::string name, const Requests& requests, const std::string& rules) {
  return {must_hold, std::move(name), [=](Effort effort) {
            const char* count = effort == Effort::kQuick ? requests.quick : requests.full;
            return check(rules + " requests=" + count);
          }};
}
Case holds(std::string name, const Requests& requests, const std::string& rules) {
  return make_case(true, std::move(name), requests, rules);
}
Case broken(std::string name, const Requests& requests, const std::string& rules) {
  return make_case(false, std::move(name), requests, rules);
}

std::vector<Case> cases() {
  return {
      holds("clients and worker fence", {"1,1", "2,1"}, ""),
      holds("membarrier, clients do not fence", {"1,1", "2,1"}, "membarrier no_client_fence"),
      holds("a client dies at any step", {"1,1", "2,1"}, "client_dies"),
      holds("membarrier, a client dies", {"1,0", "1,1"}, "membarrier no_client_fence client_dies"),
      holds("the server is killed at any step", {"2,0", "2,1"}, "server_is_killed"),
      holds("membarrier, the server is killed", {"2,0", "1,1"}, "membarrier no_client_fence server_is_killed"),
      holds("a client dies and the server is killed", {"1,0", "1,1"}, "client_dies server_is_killed"),
      holds("idle lanes", {"1,1", "2,1"}, "idle_lanes"),
      holds("idle lanes, membarrier", {"2,0", "2,1"}, "idle_lanes membarrier no_client_fence"),
      holds("idle lanes, a client dies", {"1,0", "1,1"}, "idle_lanes client_dies"),
      holds("idle lanes, the server is killed", {"2,0", "1,1"}, "idle_lanes server_is_killed"),
      holds("hints", {"1,1", "1,2"}, "idle_lanes hints"),
      holds("hints, a client dies", {"1,0", "1,1"}, "idle_lanes hints client_dies"),
      holds("hints, the server is killed", {"2,0", "1,1"}, "idle_lanes hints server_is_killed"),
      holds("a client gives up at its deadline, and waits for another position", {"3,0", "4,0"}, "gives_up"),
      holds("a client gives up; wake_at is stored after the word", {"2,0", "4,0"}, "gives_up wake_at_after_word"),
      holds("a client gives up; wake_at is stored after the second look", {"2,0", "4,0"},
            "gives_up wake_at_after_look"),
      broken("no fence of the client, no membarrier", {"1,1", "1,1"}, "no_client_fence"),
      broken("no fence of the worker before it looks", {"1,1", "1,1"}, "no_parking_fence"),
      broken("no fence on either side", {"1,1", "1,1"}, "no_client_fence no_parking_fence"),
      broken("no fence of a client that is about to wait", {"1,1", "1,1"}, "no_waiting_fence"),
      broken("no fence of the worker before it loads the words", {"1,1", "1,1"}, "no_sweep_fence"),
      broken("the worker parks without looking", {"1,1", "1,1"}, "parks_without_looking"),
      broken("the worker polls active lanes only before it parks", {"1,1", "1,1"}, "idle_lanes looks_at_active_only"),
      broken("idle lanes are never polled while others are busy", {"1,2", "1,2"}, "idle_lanes never_turns"),
      broken("hints, no fence of the client", {"1,2", "1,2"}, "idle_lanes hints membarrier no_client_fence"),
      broken("hints, a lane drops out when it is marked", {"1,2", "1,2"}, "idle_lanes hints drops_out_at_once"),
      broken("hints in place of the bell, or the bell in place of hints", {"1,2", "1,2"},
             "idle_lanes hints hints_only_if_awake"),
      broken("clients clear `parked`, and one dies before it wakes", {"1,1", "1,1"},
             "client_clears_parked client_dies"),
      broken("a new server wakes, but leaves the words", {"2,0", "2,0"}, "server_is_killed leaves_words"),
      broken("the worker wakes only beyond wake_at", {"1,0", "1,0"}, "wakes_too_late"),
      broken("word = 0 after the wake", {"2,0", "2,0"}, "clears_word_after_wake"),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "park", hostmap::models::cases()); }

#else

int main() {
  constexpr int kSkipped = 77;
  std::puts("skipped: spin was not found when this was built (Debian package spin)");
  return kSkipped;
}

#endif
