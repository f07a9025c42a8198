// What messages are made of, against libc: numbers, names of errors and of system calls, names of
// strategies, and a line that a signal handler puts together.
#include "input.hpp"

#include "anywhere/raw_line.hpp"
#include "errors.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/strategy.hpp>

#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>

namespace growstack::inputs {
namespace {

/// What the last line wrote.
std::string written;

void try_bytes(Input& input) {
  const std::uint64_t bytes = input.magnitude(0, UINT64_MAX);
  const std::string text = in_bytes(bytes);
  // Read back: the number is exact, and no larger unit would be.
  std::uint64_t number = 0;
  std::array<char, 8> unit{};
  require(std::sscanf(text.c_str(), "%" SCNu64 " %7s", &number, unit.data()) == 2,
          "a size is a number and a unit");
  const std::array<std::string_view, 5> units{"bytes", "KiB", "MiB", "GiB", "TiB"};
  unsigned power = 0;
  while (power < units.size() && units[power] != unit.data()) {
    ++power;
  }
  require(power < units.size(), "the unit is known");
  require_equal(number << (10 * power), bytes, "a size is exact");
  require(power + 1 == units.size() || number == 0 || number % 1024 != 0,
          "the unit is the largest one that divides it");
  if (bytes == 0) {
    require_equal(text, "0 bytes", "nothing is 0 bytes");
  }
}

void try_errors(Input& input) {
  constexpr std::array calls{"",
                             "close_range",
                             "fcntl",
                             "fstat",
                             "getcontext",
                             "madvise",
                             "mlock2",
                             "mmap",
                             "mprotect",
                             "munlock",
                             "munmap",
                             "pipe2",
                             "pthread_create",
                             "pthread_sigmask",
                             "sigaction",
                             "sigaltstack",
                             "ioctl(UFFDIO_API)",
                             "ioctl(UFFDIO_COPY)",
                             "ioctl(UFFDIO_REGISTER)",
                             "ioctl(UFFDIO_ZEROPAGE)",
                             "userfaultfd"};
  const int error = static_cast<int>(input.from(0, 140));
  const std::size_t call = input.from(0, calls.size() - 1);
  errno = error;
  require(handler::failed(static_cast<handler::SystemCall>(call)) == error && errno == error,
          "the errno of a call is kept");
  const int asked = input.flag() ? error : static_cast<int>(input.from(0, 140));
  const char* const name = handler::call_that_failed(asked);
  require_equal(name == nullptr ? "" : name, asked == error ? calls[call] : "",
                "the call that failed is told by its errno");

  // The errnos that memory, descriptors or threads may fail with; EOPNOTSUP is ENOTSUP, too.
  const char* const libc_name = error == ENOTSUP ? "ENOTSUP" : strerrorname_np(error);
  const char* const own_name = handler::errno_name(error);
  require(own_name == nullptr || std::string_view(own_name) == libc_name,
          "an errno is called what libc calls it");
  const std::string shown =
      own_name == nullptr ? "errno " + std::to_string(error) : std::string(own_name);
  require_equal(name_of_errno(error), shown, "each errno has a name");
  const std::string refusal = refusal_of(error);
  require_equal(refusal, (call == 0 ? "" : std::string(calls[call]) + ": ") + shown,
                "a refusal names call and errno");

  const handler::BudgetRefusal budget{.asked = input.bytes(), .left = input.bytes()};
  require(handler::refused_by_budget(budget) == EDQUOT, "a budget refuses by EDQUOT");
  const handler::BudgetRefusal told = handler::budget_refusal();
  require(told.asked == budget.asked && told.left == budget.left, "what a budget said is known");
  require(handler::call_that_failed(EDQUOT) == nullptr, "a budget is no system call");
  errno = EIO;
  handler::failed(handler::SystemCall::mmap);
  require(handler::budget_refusal().asked == 0, "a budget's words are forgotten");
  require(error_of_growth(error) == (error == EDQUOT || error == EDOM ? ENOMEM : error),
          "what a budget or a plan refuses is ENOMEM");
}

void try_reason(Input& input) {
  const int error = static_cast<int>(input.from(1, 133));
  const std::string message(input.text(80));
  try {
    fail(error, message);
  } catch (const std::system_error& thrown) {
    // what() ends at a zero byte.
    const std::string whole = "growstack: " + message + ": " + thrown.code().message();
    require_equal(std::string(thrown.what()), whole.substr(0, whole.find('\0')),
                  "a message begins with the library, and ends with the errno");
    if (message.find('\0') == std::string::npos) {
      require_equal(reason_of(thrown), message, "a reason is the message that was given");
    }
  }
}

void try_names(Input& input) {
  const auto strategy = static_cast<Strategy>(input.from(0, 255));
  const auto found = strategy_from_name(name(strategy));
  const bool is_known = strategy <= Strategy::automatic;
  require(found == (is_known ? std::optional(strategy) : std::nullopt),
          "a name leads back to its strategy");
  require((describe(strategy) != nullptr) == (strategy < Strategy::automatic),
          "all but automatic are described");
  const std::string_view any = input.text(30);
  const auto by_any = strategy_from_name(any);
  require(!by_any || name(*by_any) == any, "no other name leads to a strategy");
}

void try_line(Input& input) {
  handler::RawLine line;
  std::string expected;
  for (int pieces = 0; pieces < 64 && !input.is_over(); ++pieces) {
    const std::uint64_t kind = input.from(0, 3);
    if (kind == 0) {
      const std::string_view text = input.text(200);
      line << text;
      expected += text;
    } else {
      const std::uint64_t number = input.magnitude(0, UINT64_MAX);
      std::array<char, 24> text{};
      const char* const format = kind == 1 ? "%" PRIu64 : "0x%" PRIx64;
      static_cast<void>(std::snprintf(text.data(), text.size(), format, number));
      expected += text.data();
      kind == 1 ? line << number : line.address(number);
    }
    if (input.from(0, 15) == 0) {
      require(line.write_to_stderr(), "a line is written");
      require_equal(written, expected.substr(0, 511) + "\n", "what does not fit is left out");
      expected.clear();
    }
  }
}

}  // namespace

void try_input(Input& input) {
  switch (input.from(0, 4)) {
    case 0:
      return try_bytes(input);
    case 1:
      return try_errors(input);
    case 2:
      return try_reason(input);
    case 3:
      return try_names(input);
    default:
      return try_line(input);
  }
}

}  // namespace growstack::inputs

namespace growstack::handler {

bool write_to_standard_error(std::string_view text) noexcept {
  inputs::written = text;
  return true;
}

}  // namespace growstack::handler
