// The ways for a stack to get its memory that this library has.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

/// Who makes a stack grow, and of what memory.
enum class Strategy : std::uint8_t {
  pipe_helper,       ///< PROT_NONE; the fault handler writes a request into a pipe, a helper thread
                     ///< commits
  in_handler,        ///< PROT_NONE; the fault handler commits by itself
  guard_markers,     ///< MADV_GUARD_INSTALL markers, which the fault handler removes: no mapping of
                     ///< its own for a stack
  userfault,         ///< userfaultfd: a monitor thread fills what is missing, no signal is raised
  userfault_signal,  ///< userfaultfd with UFFD_FEATURE_SIGBUS: the fault handler fills what is
                     ///< missing
  grows_down,        ///< MAP_GROWSDOWN: the kernel moves the mapping's start
  demand_paging,     ///< a read-write mapping, which the kernel fills with zeros at first touch
  demand_paging_huge,  ///< the same, with huge pages below the uppermost ones
  locked,  ///< in physical memory from the start to the end (mlock2): no page fault ever
  heap,    ///< malloc, and no guard: overflow corrupts memory silently
  /// The best one that works here: guard_markers, else userfault_signal, else pipe_helper.
  /// Stack::strategy() tells which, Stack::fallback_reason() why. Not in strategies().
  automatic,
};

/// A line of strategies().
struct StrategyDescription {
  Strategy strategy;              ///< which
  std::string_view name;          ///< as in the enumeration
  std::string_view description;   ///< one line
  std::string_view least_kernel;  ///< Linux version, as "5.10"
};

/// All of them but `automatic`, in the order of the enumeration. Any thread.
[[nodiscard]] std::span<const StrategyDescription> strategies() noexcept;

/// The name as in the enumeration; "none" for a value that is not in it. Any thread.
[[nodiscard]] std::string_view name(Strategy strategy) noexcept;

/// The strategy of that name, if there is one. Any thread.
[[nodiscard]] std::optional<Strategy> strategy_from_name(std::string_view name) noexcept;

/// Whether a strategy works here. Converts to the answer.
struct Support {
  bool works = false;  ///< the answer
  /// Why it does not; or, if it works but for something, what is missing here ("faults of user code
  /// only: ..."). Empty when there is nothing to say.
  std::string reason;

  /// The answer.
  explicit operator bool() const noexcept { return works; }
};

/// Tries the strategy on a small stack. Any thread.
[[nodiscard]] Support supported(Strategy strategy);

}  // namespace growstack

#pragma GCC visibility pop
