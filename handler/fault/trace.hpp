// The frames of a stack that overflowed, and how they get their names: the faulting thread walks
// the stack, and the symbolizer thread names what was found.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// What ForkWiped::symbol_state says, a futex. The word also holds the number of the request,
/// because an answer may come when nobody waits for it any more.
///
///     parked, done, failed --(faulting thread)--> requested --(symbolizer)--> done or failed
///     any --(uninstall)--> ending --(install)--> parked
///
/// All waits for the end of `requested` are bounded, and only the symbolizer ends it.
enum class SymbolState : std::uint32_t { parked = 0, requested, done, failed, ending };

constexpr std::uint32_t symbol_word(std::uint32_t request, SymbolState state) noexcept {
  return request << 3U | static_cast<std::uint32_t>(state);
}
constexpr SymbolState symbol_state_of(std::uint32_t word) noexcept {
  return static_cast<SymbolState>(word & 7U);
}
/// Returns the word of the request after the one in `word`.
constexpr std::uint32_t next_symbol_word(std::uint32_t word) noexcept {
  return symbol_word((word >> 3U) + 1, SymbolState::requested);
}

/// Frames of the one stack that is reported, innermost first: as many as fit from its inner end,
/// where it overflowed, and from its outer end, where the recursion began. Written by the faulting
/// thread before `requested`. Addresses beyond the first are return addresses.
struct Trace {
  static constexpr std::size_t capacity = std::size_t{32} * 1024;
  std::size_t total = 0;          ///< frames that were walked
  bool is_cut = false;            ///< the walk ended before the outer end
  const void* inner[capacity]{};  ///< frames 0 and up
  const void* outer[capacity]{};  ///< the last ones: frame n, from `capacity` on, at n % capacity

  [[nodiscard]] std::size_t inner_count() const noexcept { return std::min(total, capacity); }
  [[nodiscard]] std::size_t outer_count() const noexcept {
    return std::min(total - inner_count(), capacity);
  }
};

/// Returns the one trace. Only a report touches its pages.
[[nodiscard]] Trace& the_trace() noexcept;

/// Has the unwinder do what it does only once (loading, allocating), so that it need not do so in a
/// handler. Not from a signal handler.
void warm_up_unwinder() noexcept;

/// Collects the frames of the running thread, from the interrupted program counter on, in bounded
/// time. Signal handlers, once the unwinder is warm.
void collect_trace(std::uintptr_t program_counter) noexcept;

}  // namespace growstack::handler
