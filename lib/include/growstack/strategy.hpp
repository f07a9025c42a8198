// Strategies: the ways in which a stack can get its memory, and how they differ.
#pragma once

#include <growstack/export.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace growstack {

/// Names who makes a stack grow, and of what memory.
enum class Strategy : std::uint8_t {
  /// PROT_NONE; the fault handler writes a request into a pipe, and a helper thread commits.
  pipe_helper,
  /// PROT_NONE; the fault handler commits by itself.
  in_handler,
  /// MADV_GUARD_INSTALL markers, which the fault handler removes. A stack needs no mapping of its
  /// own.
  guard_markers,
  /// userfaultfd: a monitor thread fills missing pages, and no signal is raised.
  userfault,
  /// userfaultfd with UFFD_FEATURE_SIGBUS: the fault handler fills missing pages.
  userfault_signal,
  /// MAP_GROWSDOWN: the kernel moves the mapping's start.
  grows_down,
  /// A read-write mapping. The kernel fills its pages with zeros at their first touch.
  demand_paging,
  /// As demand_paging, with huge pages below the uppermost pages.
  demand_paging_huge,
  /// In physical memory from the start to the end (mlock2): the stack never has a page fault.
  locked,
  /// Memory from malloc, without a guard: an overflow silently corrupts memory.
  heap,
  /// The best one that works here: userfault_signal, else guard_markers, else pipe_helper. One that
  /// would use up what is left, because it charges all of its reserve at once, is passed over.
  /// Stack::strategy() tells which one was taken, and Stack::fallback_reason() tells why. This
  /// enumerator is the last one, and it is not in strategies().
  automatic,
};

/// Names who tells the library that a stack grows.
enum class GrowthEvent : std::uint8_t {
  segmentation_fault,  ///< SIGSEGV in the thread that touched the memory
  bus_error,           ///< SIGBUS in the thread that touched the memory
  monitor,  ///< a message to a monitor thread (userfaultfd); the touching thread gets no signal
  none,     ///< nobody: the kernel supplies the memory, or all of it is there from the start
};

/// Says which memory of a stack counts against RLIMIT_DATA (getrlimit(2)).
enum class DataCharge : std::uint8_t {
  as_it_grows,  ///< what is committed, and no more
  at_once,      ///< all of the reserve, as soon as the stack is made
  nothing,      ///< none of it; RLIMIT_STACK bounds the stack instead
};

/// Says what a strategy is. All of the library's decisions that depend on the strategy, except how
/// it handles memory, are made from these values.
struct StrategyDescription {
  Strategy strategy;              ///< which one
  std::string_view name;          ///< the name of its enumerator
  std::string_view description;   ///< one line of prose
  std::string_view least_kernel;  ///< the first Linux version that has it, such as "5.10"; or "any"

  /// Who tells the library that a stack grows.
  GrowthEvent event = GrowthEvent::none;
  /// True if the helper thread commits, and not the thread that faulted.
  bool helper_commits = false;
  /// True if the library starts a thread of its own for such stacks. Besides, each process has one
  /// for the names in reports, unless handler::set_symbolizer() says otherwise.
  bool needs_thread = false;
  /// True if Stack::limit() is exact: below it nothing has memory, and above it no page was taken
  /// away. If it is false, only the kernel knows, and a trim must ask it.
  bool limit_is_exact = false;
  /// True if GrowthPolicy::huge_from counts.
  bool huge_pages = false;
  /// True if a touch below the floor is a fault. A stack without a guard corrupts other memory
  /// instead.
  bool guarded = true;
  /// True if the library holds the reserved address space for as long as the arena exists. If it is
  /// false, other mappings may land there.
  bool keeps_reservation = true;
  /// True if the memory is address space that the library reserved, and false if it comes from
  /// malloc. Stack::adopt() and stack_bounds() find a stack by its address only if this is true.
  bool own_address_space = true;
  /// True if Stack::trim() gives memory back. If it is false, trim() returns ENOTSUP.
  bool trims = true;
  /// True if the memory is locked (mlock2(2)), so that RLIMIT_MEMLOCK bounds it.
  bool locks_memory = false;
  /// What counts against RLIMIT_DATA.
  DataCharge charge = DataCharge::at_once;
  /// True if a budget is charged all of the reserve once a stack is deeper than growth events tell.
  bool charges_reserve_when_deep = false;
  /// The largest GrowthPolicy::factor that counts. A larger one counts as this.
  double largest_factor = 16;
  /// The position among the candidates of Strategy::automatic, from 1 on; 0 for a strategy that
  /// `automatic` never takes.
  unsigned automatic_rank = 0;

  /// Returns whether a StackPool can have such stacks: only with a guard, and with address space
  /// that stays reserved between two tenancies of a slot. Any thread.
  [[nodiscard]] constexpr bool pools() const noexcept { return guarded && keeps_reservation; }
};

/// Returns the descriptions of all strategies but `automatic`, in the order of the enumeration. Any
/// thread.
[[nodiscard]] GROWSTACK_EXPORT std::span<const StrategyDescription> strategies() noexcept;

/// Returns the description of a strategy, or null for `automatic` and for a value that is not in
/// the enumeration. Any thread.
[[nodiscard]] GROWSTACK_EXPORT const StrategyDescription* describe(Strategy strategy) noexcept;

/// Returns the name of an enumerator, or "none" for a value that is not in the enumeration. Any
/// thread.
[[nodiscard]] GROWSTACK_EXPORT std::string_view name(Strategy strategy) noexcept;

/// Returns the strategy of that name ("automatic" included), if there is one. Any thread.
[[nodiscard]] GROWSTACK_EXPORT std::optional<Strategy> strategy_from_name(
    std::string_view name) noexcept;

/// Says whether a strategy works on this machine. Converts to the answer.
struct Support {
  bool works = false;  ///< the answer
  /// Why the strategy does not work; or, if it works with a restriction, what is missing here
  /// ("faults of the program's own code only, ..."). Empty if there is nothing to say.
  std::string reason;

  /// Returns `works`.
  explicit operator bool() const noexcept { return works; }
};

/// Returns whether a strategy works on this machine: makes a small stack to find out. Any thread;
/// not from a signal handler.
[[nodiscard]] GROWSTACK_EXPORT Support supported(Strategy strategy);

}  // namespace growstack
