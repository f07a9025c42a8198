// Takes the running stack down as a program does: the stack pointer moves first, then the memory is
// touched.
#pragma once

#include <growstack/growth_policy.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace growstack::bench {

/// Returns where a pointer points.
[[nodiscard]] inline std::uintptr_t address_of(const volatile void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

/// Touches every page between the caller's frame and `lowest` once, from the top downwards, by
/// moving the stack pointer page by page. Calls `at_depth` there, if there is one, and comes back.
void descend(std::uintptr_t lowest, const std::function<void()>& at_depth = nullptr);

/// Writes to every cache line between the caller's frame and `lowest`, and comes back. Code that
/// fills its frames does the same.
void descend_writing(std::uintptr_t lowest);

/// The policy of a stack on which each touch of time_each_page is a fault.
inline constexpr GrowthPolicy page_by_page{.initial_commit = 1,
                                           .factor = 1.0,
                                           .least_step = 1,
                                           .largest_step = 1,
                                           .headroom = 0,
                                           .huge_from = 0};

/// Times the first touch of each of the next pages below, one by one: nanoseconds[0] is the
/// highest. Waits `idle` before each, unless it is 0.
void time_each_page(std::span<double> nanoseconds, std::chrono::nanoseconds idle);

/// Returns the nanoseconds for one touch of one page and two clock readings.
double time_touch(volatile char* page);

}  // namespace growstack::bench
