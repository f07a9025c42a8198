// Something that a process runs out of, or is not given: each strategy is tried with it, in each
// way in which a program uses a stack, and at each moment at which it can begin.
#pragma once

#include "support/each_strategy.hpp"

#include <string>

namespace growstack::testing {

/// How a use of a stack ended, from best to worst. tests/hazards.toml has the same words.
enum class Outcome : std::uint8_t {
  works,
  left,    ///< it works, but what a stack has used stays mapped when the stack is gone
  error,   ///< an exception that names the call, the limit and the cure
  report,  ///< a line that says so, and the death of the process by its own fault
};

struct Shortage {
  /// Begins it in the calling process, which may be another one afterwards (go_on_in_child). It may
  /// run on a growable stack. Null if prepare() begins it for good.
  void (*begin)(const Traits& of);
  /// Gives back what was missing. Null if that is not possible in this process.
  void (*end)() = nullptr;
  /// Prepares the process, before it has used any stack. May be null.
  void (*prepare)() = nullptr;
  /// What an error must say, as a regular expression: the call, the limit and the cure.
  const char* error;
  /// What the line before a death must say, as a regular expression.
  const char* report = "^$";
  /// Whether malloc(3) has too little of it, too: then std::bad_alloc is an error as well.
  bool concerns_malloc = false;
  /// Returns whether stacks of this strategy may leave their memory behind. May be null.
  bool (*may_leave)(const Traits& of) = nullptr;
  /// Returns why it cannot be tried here. Empty if it can. May be null.
  std::string (*why_not)() = nullptr;
};

/// Only /proc/self/maps tells how far the kernel has grown a stack.
inline bool is_grown_by_kernel(const Traits& of) { return of.limit_moves && !of.growth_events; }

/// A shortage with a name, by which the child that tries it finds it.
struct NamedShortage {
  NamedShortage(const char* name, const Shortage& shortage);
  const char* name;
  Shortage shortage;
};

/// Tries a strategy with a shortage in every way and at every moment, each in a process of its own.
/// Prints the table of what happened, all of it as "OUTCOMES: ...", and its worst as "OUTCOME:
/// word". All of it must be what outcomes.txt says.
void check(const NamedShortage& named, const Traits& of);

/// Goes on in a forked child of the calling thread. The calling process waits until the child has
/// ended, and ends the same way.
void go_on_in_child();

}  // namespace growstack::testing
