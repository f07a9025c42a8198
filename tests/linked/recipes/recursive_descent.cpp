// Recipe: a parser by recursive descent, to which no input is too deep, in whatever thread it runs.
#include <doctest/doctest.h>

#include <growstack/ensure_stack.hpp>

#include "support/foreign_stack.hpp"
#include "support/sanitized.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace {

/// Computes arithmetic expressions:
///
///     sum     = product { ("+" | "-") product }
///     product = factor { ("*" | "/") factor }
///     factor  = number | "-" factor | "(" sum ")"
class Calculator {
 public:
  static long compute(std::string_view text) {
    Calculator calculator(text);
    const long result = calculator.sum();
    calculator.expect_end();
    return result;
  }

 private:
  explicit Calculator(std::string_view text) : rest_(text) {}

  long sum() {
    long result = product();
    for (;;) {
      if (skip('+')) {
        result += product();
      } else if (skip('-')) {
        result -= product();
      } else {
        return result;
      }
    }
  }

  long product() {
    long result = factor();
    for (;;) {
      if (skip('*')) {
        result *= factor();
      } else if (skip('/')) {
        const long divisor = factor();
        result = divisor != 0 ? result / divisor : fail("division by zero");
      } else {
        return result;
      }
    }
  }

  // Each round of the recursion passes here, so one function has what all of them need. All that is
  // called until the next round takes far less than 64 KiB.
  long factor() { return growstack::ensure_stack(std::size_t{64} * 1024, &Calculator::term, this); }

  long term() {
    if (skip('-')) {
      return -factor();
    }
    if (skip('(')) {
      const long result = sum();
      return skip(')') ? result : fail("a ) is missing");
    }
    return number();
  }

  long number() {
    skip_spaces();
    long result = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), result);
    if (error != std::errc()) {
      return fail("a number is missing");
    }
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return result;
  }

  bool skip(char wanted) {
    skip_spaces();
    if (rest_.empty() || rest_.front() != wanted) {
      return false;
    }
    rest_.remove_prefix(1);
    return true;
  }

  void skip_spaces() { rest_.remove_prefix(std::min(rest_.find_first_not_of(' '), rest_.size())); }

  void expect_end() {
    skip_spaces();
    if (!rest_.empty()) {
      fail("what is this?");
    }
  }

  [[noreturn]] long fail(const std::string& why) const {
    throw std::invalid_argument(why + " " + std::to_string(rest_.size()) +
                                " characters before the end");
  }

  std::string_view rest_;
};

constexpr std::size_t deep = growstack::testing::sanitized ? 50'000 : 1'000'000;

/// Returns what body() returns in a thread with a stack of 128 KiB, as musl gives to threads.
template <class Body>
auto in_small_thread(const Body& body) {
  decltype(body()) result{};
  growstack::testing::run_in_thread(std::size_t{128} * 1024, [&] { result = body(); });
  return result;
}

}  // namespace

TEST_CASE("a parser by recursive descent computes what it is given") {
  CHECK(Calculator::compute("1 + 2 * (3 - 4) - -5") == 4);
  CHECK(Calculator::compute("((7)) / 2") == 3);
  CHECK_THROWS_AS(Calculator::compute("1 + "), std::invalid_argument);
}

TEST_CASE("it follows a million nested parentheses, on a thread of 128 KiB") {
  const std::string open(deep, '(');
  const std::string close(deep, ')');
  CHECK(in_small_thread([&] { return Calculator::compute(open + "6*7" + close); }) == 42);
  CHECK(in_small_thread([&] { return Calculator::compute(std::string(deep, '-') + "42"); }) == 42);
}

TEST_CASE("an error in the middle of a million parentheses comes out of all of them") {
  const std::string text = std::string(deep, '(') + "6*" + std::string(deep, ')');
  CHECK(in_small_thread([&] {
          try {
            return std::to_string(Calculator::compute(text));
          } catch (const std::invalid_argument& error) {
            return std::string(error.what());
          }
        }) == "a number is missing " + std::to_string(deep) + " characters before the end");
}
