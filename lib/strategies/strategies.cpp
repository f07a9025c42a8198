// The list of strategies: names, descriptions, whether they work here.
#include <growstack/stack.hpp>
#include <growstack/strategy.hpp>

#include "strategies/implementation.hpp"

#include <algorithm>
#include <array>
#include <exception>

namespace growstack {
namespace {

using Accessor = const Implementation& (*)() noexcept;

/// In the order of the enumeration.
constexpr std::array<Accessor, strategy_count> accessors{pipe_helper_strategy, in_handler_strategy, grows_down_strategy,
                                                         demand_paging_strategy};

}  // namespace

const Implementation& implementation(Strategy strategy) noexcept { return accessors[static_cast<std::size_t>(strategy)](); }

std::span<const StrategyDescription> strategies() noexcept {
  static const auto all = [] {
    std::array<StrategyDescription, accessors.size()> descriptions;
    std::transform(accessors.begin(), accessors.end(), descriptions.begin(),
                   [](Accessor accessor) { return accessor().description(); });
    return descriptions;
  }();
  return all;
}

std::string_view name(Strategy strategy) noexcept {
  return static_cast<std::size_t>(strategy) < accessors.size() ? implementation(strategy).description().name : "none";
}

std::optional<Strategy> strategy_from_name(std::string_view name) noexcept {
  const auto all = strategies();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const StrategyDescription& each) { return each.name == name; });
  return found == all.end() ? std::nullopt : std::optional(found->strategy);
}

std::string unsupported_reason(Strategy strategy) {
  try {
    const Stack probe({.reserve = std::size_t{256} * 1024, .strategy = strategy, .name = "probe"});
    return {};
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace growstack
