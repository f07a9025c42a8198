// A claim that people make about stacks and memory, put on trial on the reader's own machine.
//
//     CLAIM(1, "P", "A thread's stack is one anonymous mapping, with a guard below it.",
//           "a thread's stack is one mapping of the size asked for, with a guard below it") {
//       ...look...
//       CHECK(what must be so here);
//       found(Verdict::holds, "{} KiB, of which {} KiB are the guard", ...);
//     }
//
// First comes what is claimed, and by which of the sources in claim.cpp. Then comes the name of the
// test, which says what is true. Each claim runs as a ctest test in a process of its own, so it may
// change limits and leave memory behind. What must die, or needs a fresh process, is a scenario
// (support/scenario.hpp) or a forked child (support/forked.hpp).
#pragma once

#include <doctest/doctest.h>

#include "claims/outcome_lines.hpp"
#include "support/scenario.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace growstack::testing {

enum class Verdict : std::uint8_t {
  holds,
  no_longer,  ///< it was so, on an older kernel or C library
  never_did,  ///< on Linux
};

[[nodiscard]] std::string_view name(Verdict verdict);

struct Claim {
  int number;
  std::string_view sources;   ///< letters
  std::string_view words;     ///< what is claimed
  std::string_view sentence;  ///< what is so: the name of the test
  std::string_view file;
  int line;
};

/// Returns all claims, in the order of their numbers.
[[nodiscard]] std::vector<Claim> claims();

/// Returns the name of the test of a claim: its number of two digits and its sentence.
[[nodiscard]] std::string test_name(const Claim& claim);

/// Prints the outcome of a claim and the figures on which it rests, in lines that claims_table
/// reads. Is called once for each claim.
void found_in_words(Verdict verdict, const std::string& measured);

/// Formats the figures, and calls found_in_words().
template <class... Arguments>
void found(Verdict verdict, fmt::format_string<Arguments...> measured, Arguments&&... arguments) {
  found_in_words(verdict, fmt::format(measured, std::forward<Arguments>(arguments)...));
}

struct RegisteredClaim {
  explicit RegisteredClaim(const Claim& claim);
};

/// Runs the body of a claim, and fails if it came to no verdict and was not skipped.
void put_on_trial(void (*body)());

#define CLAIM(number, sources, words, sentence)                                     \
  GROWSTACK_CLAIM(number, sources, words, sentence, DOCTEST_ANONYMOUS(claim_body_), \
                  DOCTEST_ANONYMOUS(claim_registered_))
#define GROWSTACK_CLAIM(number, sources, words, sentence, body, registered)      \
  static void body();                                                            \
  static const ::growstack::testing::RegisteredClaim registered(                 \
      {number, sources, words, sentence, __FILE__, __LINE__});                   \
  TEST_CASE(((number) < 10 ? "0" #number " " sentence : #number " " sentence)) { \
    ::growstack::testing::put_on_trial(&body);                                   \
  }                                                                              \
  static void body()

}  // namespace growstack::testing
