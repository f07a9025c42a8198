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
  guarded,    ///< are all pages of [second, third argument) such that a touch is a fault?
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

  /// Says so unless every page of the guard is one.
  void require_guard(const Stack& stack, const Traits& of) const;

  /// Waits for another thread, by calls of the test's own, none of which fails.
  void wait_for(const std::atomic<bool>& flag) const;

  /// Waits for a child. Its end is the test's own business: no call of this fails.
  [[nodiscard]] int status_of(pid_t child) const;
};

/// What happens in a scenario.
using WatchedScenario = void (*)(const Traits& of, const Trial& trial);

/// Runs a scenario in the watched process: afterwards the next stack works, and nothing is left.
void run_in_watched_process(WatchedScenario scenario, const Traits& of);

/// Returns the options of most stacks of the scenarios.
[[nodiscard]] StackOptions options_of(const Traits& of);

/// Goes deep on a stack, and says what is wrong about it.
void go_deep(Stack& stack, std::size_t depth, const Trial& trial);

}  // namespace growstack::testing
