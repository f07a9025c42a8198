// The list of strategies: their implementations, descriptions and names, and whether they work
// here.
#include <growstack/handler/init_order.hpp>
#include <growstack/stack.hpp>
#include <growstack/strategy.hpp>

#include "errors.hpp"
#include "strategies/implementation.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <system_error>
#include <utility>

namespace growstack {
namespace {

constexpr std::size_t strategy_count = static_cast<std::size_t>(Strategy::automatic);

using Accessor = const Implementation& (*)() noexcept;

/// In the order of the enumeration. A strategy without a file is an undefined reference here.
constexpr auto accessors = []<std::size_t... index>(std::index_sequence<index...>) {
  return std::array{Accessor{implementation_of<static_cast<Strategy>(index)>}...};
}
(std::make_index_sequence<strategy_count>());

constexpr std::string_view automatic_name = "automatic";

struct Descriptions {
  Descriptions() {
    std::transform(accessors.begin(), accessors.end(), all.begin(),
                   [](Accessor accessor) { return accessor().description(); });
  }
  std::array<StrategyDescription, strategy_count> all;
};

/// Made when the program is loaded, because a function's static variable may stay half made in a
/// forked child.
[[gnu::init_priority(handler::init_dependents)]] const Descriptions descriptions;

}  // namespace

const Implementation* implementation(Strategy strategy) noexcept {
  const auto index = static_cast<std::size_t>(strategy);
  return index < accessors.size() ? &accessors[index]() : nullptr;
}

std::span<const StrategyDescription> strategies() noexcept { return descriptions.all; }

const StrategyDescription* describe(Strategy strategy) noexcept {
  const Implementation* const found = implementation(strategy);
  return found == nullptr ? nullptr : &found->description();
}

std::string_view name(Strategy strategy) noexcept {
  const StrategyDescription* const found = describe(strategy);
  return found != nullptr                  ? found->name
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
