// The list of strategies: names, descriptions, whether they work here.
#include <growstack/stack.hpp>
#include <growstack/strategy.hpp>
#include <growstack/handler/init_order.hpp>

#include "errors.hpp"
#include "strategies/implementation.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <system_error>

namespace growstack {
namespace {

using Accessor = const Implementation& (*)() noexcept;

/// In the order of the enumeration.
constexpr std::array accessors{
    Accessor{pipe_helper_strategy},      Accessor{in_handler_strategy},
    Accessor{guard_markers_strategy},    Accessor{userfault_strategy},
    Accessor{userfault_signal_strategy}, Accessor{grows_down_strategy},
    Accessor{demand_paging_strategy},    Accessor{demand_paging_huge_strategy},
    Accessor{locked_strategy},           Accessor{heap_strategy}};

constexpr std::string_view automatic_name = "automatic";

}  // namespace

const Implementation* implementation(Strategy strategy) noexcept {
  for (const Accessor accessor : accessors) {
    if (accessor().description().strategy == strategy) {
      return &accessor();
    }
  }
  return nullptr;
}

namespace {

struct Descriptions {
  Descriptions() {
    std::transform(accessors.begin(), accessors.end(), all.begin(),
                   [](Accessor accessor) { return accessor().description(); });
  }
  std::array<StrategyDescription, accessors.size()> all;
};

/// Made when the program is loaded: a function's static variable may stay half made in a forked
/// child.
[[gnu::init_priority(handler::init_dependents)]] const Descriptions descriptions;

}  // namespace

std::span<const StrategyDescription> strategies() noexcept { return descriptions.all; }

std::string_view name(Strategy strategy) noexcept {
  const Implementation* const found = implementation(strategy);
  return found != nullptr                  ? found->description().name
         : strategy == Strategy::automatic ? automatic_name
                                           : std::string_view("none");
}

std::optional<Strategy> strategy_from_name(std::string_view name) noexcept {
  if (name == automatic_name) {
    return Strategy::automatic;
  }
  const auto all = strategies();
  const auto found = std::find_if(
      all.begin(), all.end(), [&](const StrategyDescription& each) { return each.name == name; });
  return found == all.end() ? std::nullopt : std::optional(found->strategy);
}

Support supported(Strategy strategy) {
  try {
    const Stack probe({.reserve = std::size_t{256} * 1024, .strategy = strategy, .name = "probe"});
    const Implementation* const chosen = implementation(probe.strategy());
    return {.works = true, .reason = chosen == nullptr ? std::string() : chosen->missing_here()};
  } catch (const std::system_error& error) {
    return {.works = false, .reason = reason_of(error)};
  } catch (const std::exception& error) {
    return {.works = false, .reason = error.what()};
  }
}

}  // namespace growstack
