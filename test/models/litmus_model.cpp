// Model of nothing: programs whose results in C++ are well known, so that one can trust
// the results of the two explorers for the table.
//
// The server stores a value into `data`, and then sets `flag`; a reader that finds the flag
// set must not find garbage in the data. (Message passing, in the literature.) It may, in C++ order,
// unless each side orders its two accesses, by a release store or fence and by an acquire load or
// fence; a fence does so for its own process only. In program order it never does. And two loads of
// one word never go back, whatever their order.

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "cases.hpp"
#include "table_cases.hpp"
#include "table_model.hpp"

namespace hostmap::models {
namespace {

constexpr int kData = 0;
constexpr int kFlag = 1;
constexpr std::size_t kWords = 2;
constexpr Word kGarbage = 9;

enum class By { kNothing, kAccess, kFence };

struct Rules {
  By released = By::kNothing;
  By acquired = By::kNothing;
  By released_by_successor = By::kNothing;  // of a server that is killed between data and flag
  bool loads_flag_twice = false;
  bool ignores_flag = false;
};

class LitmusModel {
 public:
  using Server = ServerMemory<kWords>;
  using SharedWords = std::array<Word, kWords>;

  explicit LitmusModel(const Rules& rules) : rules_(rules) {}

  static Server start() {
    Server server;
    server.shared[kData] = kGarbage;
    return server;
  }

  static Word content(const SharedWords& memory) { return memory[kFlag] == 0 ? Word{0} : memory[kData]; }

  template <typename Offer>
  void offer_requests(const Server& server, Offer offer) const {
    Request<Server> request(server);
    if (request.load(kFlag) != 0) return;
    const Word value = request.new_value();
    request.store(kData, value, Order::kRelaxed);
    set_flag(request, rules_.released);
    request.sets_content(value);
    offer(request);
  }

  // The successor sets the flag that the killed server could not set any more.
  void recover(Request<Server>& request) const {
    if (request.load(kData) != kGarbage && request.load(kFlag) == 0) {
      set_flag(request, rules_.released_by_successor);
    }
  }

  static const char* rebuild(Server&) { return nullptr; }

  template <typename Loads>
  ReadResult read(Loads& load) const {
    const Word flag = rules_.acquired == By::kAccess ? load.acquire(kFlag) : load.relaxed(kFlag);
    if (rules_.loads_flag_twice) {
      return load.relaxed(kFlag) < flag ? ReadResult::torn() : ReadResult::again();
    }
    if (rules_.acquired == By::kFence) load.acquire_fence();
    const Word data = load.relaxed(kData);
    const bool counts = flag != 0 || rules_.ignores_flag;
    return counts && data == kGarbage ? ReadResult::torn() : ReadResult::again();
  }

  static std::string describe(int where, Word value) {
    return (where == kData ? "data = " : "flag = ") + std::to_string(value);
  }

 private:
  static Order order(By released) { return released == By::kAccess ? Order::kRelease : Order::kRelaxed; }

  static void set_flag(Request<Server>& request, By released) {
    if (released == By::kFence) request.release_fence();
    request.store(kFlag, 1, order(released));
  }

  const Rules rules_;
};

std::vector<Case> cases() {
  constexpr auto holds = TableCases<LitmusModel, Rules>::holds;
  constexpr auto broken = TableCases<LitmusModel, Rules>::broken;
  constexpr Memory kProgram = Memory::kProgramOrder;
  constexpr Memory kCpp = Memory::kCppOrder;
  constexpr Bounds kOnce{{1, 1}};
  constexpr Bounds kKilled{{1, 1}, 1};
  return {
      holds("release store, acquire load", kCpp, kOnce, {By::kAccess, By::kAccess}),
      holds("release store, acquire fence", kCpp, kOnce, {By::kAccess, By::kFence}),
      holds("release fence, acquire load", kCpp, kOnce, {By::kFence, By::kAccess}),
      holds("release fence, acquire fence", kCpp, kOnce, {By::kFence, By::kFence}),
      broken("relaxed store, acquire load", kCpp, kOnce, {By::kNothing, By::kAccess}),
      broken("relaxed store, acquire fence", kCpp, kOnce, {By::kNothing, By::kFence}),
      broken("release store, relaxed load", kCpp, kOnce, {By::kAccess, By::kNothing}),
      broken("release fence, relaxed load", kCpp, kOnce, {By::kFence, By::kNothing}),
      holds("a killed server's successor stores with release", kCpp, kKilled, {By::kAccess, By::kAccess, By::kAccess}),
      broken("a killed server's release fence orders its successor's store", kCpp, kKilled,
             {By::kFence, By::kAccess, By::kNothing}),
      holds("all relaxed, in program order", kProgram, kOnce, {}),
      broken("the flag is not read, in program order", kProgram, kOnce, {.ignores_flag = true}),
      holds("two loads of one word", kCpp, kOnce, {.loads_flag_twice = true}),
  };
}

}  // namespace
}  // namespace hostmap::models

int main(int argc, char** argv) { return hostmap::models::run_cases(argc, argv, "litmus", hostmap::models::cases()); }
