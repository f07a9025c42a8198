// A process that is watched by a supervisor in another one, as seen from inside. It talks to the
// supervisor by system calls that no kernel has.
#pragma once

#include <growstack/growstack.hpp>

#include "support/each_strategy.hpp"

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>

namespace growstack::testing {

/// The number of the system call by which a watched process talks to its supervisor. Its first
/// argument is an Ask.
inline constexpr long asking = 5000;

enum class Ask : std::uint64_t {
  watch,      ///< count, and let fail, what is called from now on
  unwatch,    ///< no more; answered when all other threads sleep
  spare,      ///< leave the next call of this thread alone
  wrong,      ///< something is wrong: the text
  threw,      ///< a std::system_error came: its message
  bad_alloc,  ///< a std::bad_alloc came
  returned,   ///< an error code came: the errno, and the function that returned it
  guarded,    ///< are all pages of [second, third argument) such that a touch is a fault?
  resident,   ///< how many bytes of [second, third argument) are in physical memory?
  census,     ///< count what this process has
  finished,   ///< all has been looked at
};

/// What a scenario can say.
class Trial {
 public:
  /// Runs body() while system calls are counted, and one may fail. What it throws is an answer.
  /// Returns whether it threw nothing.
  bool watch(const std::function<void()>& body) const;

  /// Says what is wrong, unless `fulfilled`.
  void require(bool fulfilled, const std::string& what) const;

  /// Tells of what a function returned that does not throw. Only the errno of the call that fails
  /// may be returned. Returns whether there was no error.
  [[nodiscard]] bool succeeded(std::error_code error, const char* function) const;

  /// Says so if a page of [begin, end) is in physical memory. That asks the kernel from outside.
  void require_given_back(std::uintptr_t begin, std::uintptr_t end, const char* function) const;

  /// Lets the next call of this thread be the test's own, which does not fail.
  void spare() const;

  /// Says so unless every page of the guard is one.
  void require_guard(const Stack& stack, const Traits& of) const;

  /// Waits for another thread, by calls of the test's own, none of which fails.
  void wait_for(const std::atomic<bool>& flag) const;

  /// Waits for a child. Its end is the test's own business: no call of this fails.
  [[nodiscard]] int status_of(pid_t child) const;
};

/// Memory whose bytes have a pattern that depends on their address.
class Contents {
 public:
  /// Writes the pattern.
  Contents(void* begin, std::size_t bytes) noexcept;

  /// Returns how many bytes have changed.
  [[nodiscard]] std::size_t changed() const noexcept;

 private:
  volatile unsigned char* begin_;
  std::size_t bytes_;
};

/// Writes a pattern right below the base of a stack on which nothing runs.
[[nodiscard]] Contents contents_of(const Stack& stack);

/// What happens in a scenario.
using WatchedScenario = void (*)(const Traits& of, const Trial& trial);

/// Runs a scenario in the watched process: afterwards the next stack works, and nothing is left.
void run_in_watched_process(WatchedScenario scenario, const Traits& of);

/// Returns the options of most stacks of the scenarios.
[[nodiscard]] StackOptions options_of(const Traits& of);

/// Goes deep on a stack, and says what is wrong about it.
void go_deep(Stack& stack, std::size_t depth, const Trial& trial);

}  // namespace growstack::testing
