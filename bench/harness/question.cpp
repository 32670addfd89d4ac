#include "harness/question.hpp"

#include <algorithm>

namespace hostmap::bench {

namespace {

// Functions, as objects of other files register themselves before main().
std::vector<Question>& known_questions() {
  static std::vector<Question> all;
  return all;
}
std::vector<Role>& known_roles() {
  static std::vector<Role> all;
  return all;
}

}  // namespace

Registered::Registered(const Question& question) {
  std::vector<Question>& all = known_questions();
  all.insert(std::ranges::upper_bound(all, question.place, {}, &Question::place), question);
}

Registered::Registered(const Role& role) { known_roles().push_back(role); }

const std::vector<Question>& questions() { return known_questions(); }
const std::vector<Role>& roles() { return known_roles(); }

}  // namespace hostmap::bench
