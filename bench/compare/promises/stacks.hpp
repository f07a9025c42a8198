// The stacks on which the experiments run.
#pragma once

#include "any_stack.hpp"
#include "promise.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace growstack::compare::promises {

inline constexpr std::size_t kib = 1024;
inline constexpr std::size_t mib = 1024 * kib;
inline constexpr std::size_t guard_bytes = 64 * kib;

/// Most experiments go so deep, and reserve four times as much: little enough for anybody to lock.
inline constexpr std::size_t depth = mib;
inline constexpr std::size_t reserve = 4 * depth;

/// Makes a stack. First raises the soft limits that strategies need: RLIMIT_STACK for grows_down,
/// RLIMIT_MEMLOCK for locked.
[[nodiscard]] std::unique_ptr<AnyStack> make(const std::string& subject,
                                             std::size_t bytes = reserve);

/// Makes a stack in a worker, after before() if there is one, and runs body on it. The worker says
/// what body returns.
[[nodiscard]] Fate on_stack(const Question& question,
                            const std::function<nlohmann::json(AnyStack& stack)>& body,
                            void (*before)() = nullptr);

/// Touches everything between the caller's frame and `bytes` below the base of the running stack,
/// which is `stack`, and comes back.
void go_down(const AnyStack& stack, std::size_t bytes = depth);

/// Trims the stack. Returns false if the subject has no trim. Throws std::system_error.
[[nodiscard]] bool trim(AnyStack& stack);

}  // namespace growstack::compare::promises
