// What a strategy is, behind the enumeration: how a slot of address space becomes a stack, gives memory back, and ends.
#pragma once

#include <growstack/handler/slot.hpp>
#include <growstack/options.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace growstack {

/// Where one stack lies: guard <= floor < base, page aligned. All of it Reserved before open() and after close().
struct Bounds {
  std::uintptr_t base = 0;
  std::uintptr_t floor = 0;
  std::uintptr_t guard = 0;
};

/// Results are 0 or an errno. Any thread; nobody else uses the slot meanwhile, unless it says so.
class Implementation {
 public:
  Implementation() = default;
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  [[nodiscard]] virtual const StrategyDescription& description() const noexcept = 0;
  [[nodiscard]] virtual handler::Growth growth() const noexcept = 0;
  [[nodiscard]] virtual handler::Committer committer() const noexcept { return handler::Committer::handler; }

  /// Throws std::system_error where a limit of this process forbids such a stack.
  virtual void check(const StackOptions& options) const { static_cast<void>(options); }

  /// What a stack of this strategy lacks on this machine, for want of a privilege or a setting; empty for nothing.
  [[nodiscard]] virtual std::string missing_here() const { return {}; }

  /// Moves the slot to its initial state and tells the limit it starts with. When it fails, the slot is Reserved as before.
  [[nodiscard]] virtual int open(const Bounds& bounds, std::size_t initial_commit, std::uintptr_t& limit) const noexcept = 0;

  /// Gives everything below `keep_from` (page aligned) back to the system; the stack can grow there again. May be called
  /// from the stack itself.
  [[nodiscard]] virtual int trim(handler::SlotRecord& slot, std::uintptr_t keep_from) const noexcept = 0;

  /// Moves the slot back to Reserved.
  [[nodiscard]] virtual int close(const handler::SlotRecord& slot) const noexcept = 0;

  /// Lowest committed address now, and the lowest ever. Any thread at any time.
  [[nodiscard]] virtual std::uintptr_t limit(const handler::SlotRecord& slot) const noexcept = 0;
  [[nodiscard]] virtual std::uintptr_t high_water(const handler::SlotRecord& slot) const noexcept = 0;

  /// False for a strategy that cannot keep the address space between its slots and below them: it gets one slot per
  /// arena, and of that arena only [begin, floor) is left after close().
  [[nodiscard]] virtual bool keeps_reservation() const noexcept { return true; }

 protected:
  ~Implementation() = default;
};

/// nullptr for `automatic`, and for a value that is not in the enumeration.
[[nodiscard]] const Implementation* implementation(Strategy strategy) noexcept;

// One file each.
[[nodiscard]] const Implementation& pipe_helper_strategy() noexcept;
[[nodiscard]] const Implementation& in_handler_strategy() noexcept;
[[nodiscard]] const Implementation& grows_down_strategy() noexcept;
[[nodiscard]] const Implementation& demand_paging_strategy() noexcept;

}  // namespace growstack
