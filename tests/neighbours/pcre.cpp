// PCRE 8, which calls itself for each repetition of a group: long subjects need deep stacks.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/units.hpp"

#include <pcre.h>

#include <array>
#include <memory>
#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Returns how many bytes of the subject match, or an error of PCRE, which is negative.
int match(const std::string& subject) {
  const char* error = nullptr;
  int place = 0;
  const std::unique_ptr<pcre, void (*)(void*)> pattern(
      pcre_compile("^(a|b)*$", 0, &error, &place, nullptr), pcre_free);
  pcre_extra limits{};
  limits.flags = PCRE_EXTRA_MATCH_LIMIT | PCRE_EXTRA_MATCH_LIMIT_RECURSION;
  limits.match_limit = limits.match_limit_recursion = 100'000'000;
  std::array<int, 6> found{};
  const int result = pcre_exec(pattern.get(), &limits, subject.data(),
                               static_cast<int>(subject.size()), 0, 0, found.data(), found.size());
  return result < 0 ? result : found[1];
}

constexpr int length = 200'000;

}  // namespace

TEST_CASE("in a call, PCRE matches a subject that needs more than an ordinary stack") {
  Stack stack({.reserve = 1 * GiB, .name = "pcre"});
  CHECK(call(stack, match, std::string(length, 'a')) == length);
  CHECK(stack.committed() > 8 * MiB);
  CHECK(call(stack, match, std::string(length, 'a') + "c") == PCRE_ERROR_NOMATCH);
}
