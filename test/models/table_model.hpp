// What the models of the table share: the memory, a server's request, and a read.
//
// One server stores, any reader loads. The readers store nothing, so one reader stands for all, and
// one key, K, stands for all keys; other keys are its neighbours, whose places, overflow buckets
// and memory it gets and gives. A model has
//
//   Server start()                         what is there at the start
//   Word content(memory)                   what a look-up of K gives when all is quiet; 0: absent
//   offer_requests(server, offer)          calls offer(Request) for each thing the server may do
//   recover(request)                       the stores of a recovery, from what a kill left
//   const char* rebuild(server)            the server's own memory after it; else what is wrong
//   ReadResult read(load)                  the reader
//   Word seen_content(memory, fill)        only with clears by others: content, to a reader that
//                                          took this fill number
//   std::string describe(where, value)     "primary.header = {version 2, ...}"
//
// and is explored twice: interleavings.hpp runs it in program order, store by store and load by
// load, with kills; weak_memory.hpp lets each load return whatever C++ allows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hostmap::models {

using Word = std::uint16_t;  // stands for the 64-bit words of shared memory

enum class Order : std::uint8_t { kRelaxed, kRelease, kFence };

struct Store {
  Order order;
  std::uint8_t where;
  Word value;
};

template <std::size_t kWords, std::size_t kOwnWords = 1>
struct ServerMemory {
  static constexpr std::size_t kSharedWords = kWords;

  std::array<Word, kWords> shared{};
  std::array<Word, kOwnWords> own{};  // the server's private memory: a kill takes it
  Word values_given = 0;              // each value that is put is a new number
};

// One request, as the server carries it out: its own stores are visible to it at once; what is visible to others of
// them, and when, is for the explorer to choose.
template <typename Server>
class Request {
 public:
  explicit Request(const Server& server) : server_(server) {}

  Word load(int where) const { return server_.shared[index(where)]; }

  void store(int where, int value, Order order = Order::kRelease) {
    server_.shared[index(where)] = static_cast<Word>(value);
    stores_.push_back({order, static_cast<std::uint8_t>(where), static_cast<Word>(value)});
  }

  void release_fence() { stores_.push_back({Order::kFence, 0, 0}); }

  Word& own(int word) { return server_.own[index(word)]; }

  Word new_value() { return ++server_.values_given; }

  // K's value once this request is done; by default a request does not touch K.
  void sets_content(Word value) {
    changes_content_ = true;
    content_ = value;
  }

  const Server& server() const { return server_; }
  const std::vector<Store>& stores() const { return stores_; }
  bool changes_content() const { return changes_content_; }
  Word content() const { return content_; }

 private:
  static std::size_t index(int where) { return static_cast<std::size_t>(where); }

  Server server_;
  std::vector<Store> stores_;
  bool changes_content_ = false;
  Word content_ = 0;
};

// Lists of stores, numbered, so that a state can hold in one word what is still to be stored.
class StoreLists {
 public:
  static constexpr std::array<Word, 2> kNothing = {0, 0};

  // A fence is left out: it orders nothing that program order does not.
  std::array<Word, 2> number_of(const std::vector<Store>& stores) {
    std::vector<Store> list;
    std::string name;
    for (const Store& store : stores) {
      if (store.order == Order::kFence) continue;
      list.push_back(store);
      name += {static_cast<char>(store.where), static_cast<char>(store.value), static_cast<char>(store.value >> 8)};
    }
    const auto [known, is_new] = numbers_.try_emplace(name, lists_.size());
    if (is_new) lists_.push_back(std::move(list));
    return {static_cast<Word>(known->second), static_cast<Word>(known->second >> 16)};
  }

  const std::vector<Store>& list(const std::array<Word, 2>& number) const {
    return lists_[number[0] + (std::size_t{number[1]} << 16)];
  }

 private:
  std::vector<std::vector<Store>> lists_{{}};
  std::unordered_map<std::string, std::size_t> numbers_{{"", 0}};
};

struct ReadResult {
  enum class Kind { kAgain, kHit, kMiss, kTorn };
  Kind kind;
  Word value;

  // A read that starts over is a fresh read with an older start, about which less must be proved:
  // so the explorers end it here, and one round of reading stands for all.
  static constexpr ReadResult again() { return {Kind::kAgain, 0}; }
  static constexpr ReadResult hit(Word value) { return {Kind::kHit, value}; }
  static constexpr ReadResult miss() { return {Kind::kMiss, 0}; }
  static constexpr ReadResult torn() { return {Kind::kTorn, 0}; }
};

inline std::string wrong_read(const ReadResult& result) {
  if (result.kind == ReadResult::Kind::kTorn) return "the read returns a torn value";
  if (result.kind == ReadResult::Kind::kMiss) {
    return "the read misses, although the key was there throughout";
  }
  return "the read returns value " + std::to_string(result.value) + ", which was the key's at no moment of the read";
}

}  // namespace hostmap::models
