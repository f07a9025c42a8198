// The ways for a stack to get its memory that this library has.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

enum class Strategy : std::uint8_t {
  pipe_helper,    ///< PROT_NONE; the fault handler writes a request into a pipe, a helper thread commits
  in_handler,     ///< PROT_NONE; the fault handler commits by itself
  grows_down,     ///< MAP_GROWSDOWN: the kernel moves the mapping's start
  demand_paging,  ///< a read-write mapping, which the kernel fills with zeros at first touch
};

struct StrategyDescription {
  Strategy strategy;
  std::string_view name;
  std::string_view description;   ///< one line
  std::string_view least_kernel;  ///< Linux version, as "5.10"
};

/// All of them, in the order of the enumeration. Any thread.
[[nodiscard]] std::span<const StrategyDescription> strategies() noexcept;

/// The name as in the enumeration; "none" for a value that is not in it. Any thread.
[[nodiscard]] std::string_view name(Strategy strategy) noexcept;

/// The strategy of that name, if there is one. Any thread.
[[nodiscard]] std::optional<Strategy> strategy_from_name(std::string_view name) noexcept;

/// Whether the strategy works here: empty for yes, otherwise the reason. Tries it on a small stack. Any thread.
[[nodiscard]] std::string unsupported_reason(Strategy strategy);

}  // namespace growstack

#pragma GCC visibility pop
