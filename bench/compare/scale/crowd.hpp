// Very many stacks of one subject that exist at once. Each of them was entered and waits.
#pragma once

#include "subjects/suspended.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace growstack::compare {

/// A stack of a crowd.
struct Member {
  std::uintptr_t floor = 0;  ///< the lowest address that code may use; the guard lies right below
  Suspended code{};          ///< waits on the stack; a thread has none that takes errands
};

/// Returns a function that makes and enters one more stack at each call, at most `most`. It throws
/// what keeps the stack from being made. The subject is a strategy, whose stacks come from a
/// StackPool, or a peer (pools.hpp); Boost's allocators choose their guard by themselves.
[[nodiscard]] std::function<Member()> member_maker(const std::string& subject, std::size_t most,
                                                   std::size_t reserve, std::size_t guard);

/// Returns whether the subject promises a guard below each stack.
[[nodiscard]] bool promises_guards(const std::string& subject);

}  // namespace growstack::compare
