#include <growstack/growth_policy.hpp>

#include "memory/vm.hpp"

#include <algorithm>

namespace growstack {
namespace {

/// Returns `address - bytes`, but not less than `floor`.
std::uintptr_t down_to(std::uintptr_t floor, std::uintptr_t address, std::size_t bytes) noexcept {
  return address - floor < bytes ? floor : address - bytes;
}

/// Returns `grown`, or a lower address if huge pages begin above it: then only whole huge pages.
std::uintptr_t in_whole_pages(const GrowthPolicy& policy, std::uintptr_t base, std::uintptr_t floor,
                              std::uintptr_t grown) noexcept {
  if (policy.huge_from == 0 || base - grown <= policy.huge_from) {
    return grown;
  }
  const std::size_t huge = base - policy.huge_from - grown;
  return down_to(floor, base, policy.huge_from + vm::round_up(huge, vm::huge_page));
}

/// Returns the step by which a stack grows that has `committed` bytes. Compares before it converts,
/// because a factor may lead to a number that no integer can hold.
std::size_t step_from(const GrowthPolicy& policy, std::size_t committed) noexcept {
  const double geometric = static_cast<double>(committed) * (policy.factor - 1.0);
  const std::size_t largest = std::max(policy.least_step, policy.largest_step);
  if (!(geometric > static_cast<double>(policy.least_step))) {
    return policy.least_step;
  }
  return geometric < static_cast<double>(largest) ? static_cast<std::size_t>(geometric) : largest;
}

}  // namespace

std::uintptr_t grown_limit(const GrowthPolicy& policy, std::uintptr_t base, std::uintptr_t floor,
                           std::uintptr_t limit, std::uintptr_t address,
                           std::size_t page) noexcept {
  // The touched page and the headroom are necessary; the step is a wish.
  const std::uintptr_t needed = down_to(floor, address & ~(page - 1), policy.headroom);
  const std::uintptr_t wished = down_to(floor, limit, step_from(policy, base - limit));
  return in_whole_pages(policy, base, floor,
                        std::max(floor, std::min(needed, wished) & ~(page - 1)));
}

std::uintptr_t kept_limit(const GrowthPolicy& policy, std::uintptr_t base, std::uintptr_t floor,
                          std::uintptr_t stack_pointer, std::size_t margin,
                          std::size_t page) noexcept {
  const std::size_t in_use = base - stack_pointer;
  const std::size_t below = std::max(margin, in_use + policy.initial_commit);
  return in_whole_pages(policy, base, floor,
                        std::max(floor, down_to(floor, stack_pointer, below) & ~(page - 1)));
}

}  // namespace growstack
