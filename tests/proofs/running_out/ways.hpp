// The ways in which a program uses a stack. Whatever runs out, each of them is tried.
#pragma once

#include "support/each_strategy.hpp"

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

namespace growstack::testing {

struct Way {
  std::string_view name;
  /// Makes a stack with the strategy, and on it runs at_the_top() and then a descent of `depth`
  /// bytes. Returns the number of bytes that were wrong. Throws what making the stack throws.
  std::size_t (*use)(const Traits& of, const std::function<void()>& at_the_top, std::size_t depth);
  bool thread = false;  ///< in a thread of its own
  bool pools = false;   ///< only for strategies that a pool can have
  bool forked = false;  ///< in a forked child of a process that has used stacks
};

[[nodiscard]] std::span<const Way> ways();

}  // namespace growstack::testing
