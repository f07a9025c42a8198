// Kinds of stacks: what the stacks of an arena have in common.
#pragma once

#include "strategies/implementation.hpp"

#include <growstack/options.hpp>

namespace growstack {

struct Kind {
  const Implementation* implementation = nullptr;
  Layout layout{};
  GrowthPolicy policy{};  ///< in whole pages, and clamped to what the strategy supports

  /// Returns the kind of the stacks that validated options ask for. Their strategy is not
  /// `automatic`.
  [[nodiscard]] static Kind of(const StackOptions& options) noexcept;

  [[nodiscard]] const StrategyDescription& description() const noexcept {
    return implementation->description();
  }

  /// Orders kinds for use as a map key. The order itself has no meaning.
  bool operator<(const Kind& other) const noexcept;
  bool operator==(const Kind& other) const noexcept;
};

}  // namespace growstack
