// guard_markers: every stack has a guard, and no stack has a mapping of its own. All slots of an
// arena are one read-write mapping. Memory that may not be touched carries markers in the page
// tables (MADV_GUARD_INSTALL, Linux 6.13), which the fault handler removes as the stack grows.
//
//     base
//                       first pages: no markers
//     limit
//                       window: markers; each touch is a growth fault
//     end of window     (the end of the page-table page that base lies in)
//                       no markers: the kernel fills these pages at first touch, without an event
//     floor
//                       guard: markers, from the first stack of the slot to the end of the arena
//     guard
//
// Markers cost page tables: one page of them for 2 MiB. Therefore the window ends with the
// page-table page of base, and the guard lies in the same 2 MiB as the base of the slot below,
// which needs that page-table page anyway. So a stack of 8 MiB costs two pages, one of data and one
// of page tables, and a deeper reserve costs no more.
//
// A frame that is larger than the window jumps over it. The kernel supplies the memory, and the
// library gets no event. So trim gives back everything below the stack pointer, whatever the limit
// says. If the policy wants huge pages, a limit below the window has markers too: on the rest of
// its 2 MiB, because khugepaged would fill that otherwise. A trim leaves them there, and so does an
// initial commit that is larger than the window. A touch of them is growth again.
#include "errors.hpp"
#include "memory/residency.hpp"
#include "memory/vm.hpp"
#include "strategies/core_dumps.hpp"
#include "strategies/guard.hpp"
#include "strategies/implementation.hpp"
#include "strategies/limit_raised.hpp"

#include <growstack/handler/machine.hpp>

#include <algorithm>
#include <cerrno>

namespace growstack {
namespace {

constexpr StrategyDescription guard_markers{
    .strategy = Strategy::guard_markers,
    .name = "guard_markers",
    .description =
        "markers in the page tables, which the fault handler removes; no mapping a stack",
    .least_kernel = "6.13",
    .event = GrowthEvent::segmentation_fault,
    .huge_pages = true,
    .charges_reserve_when_deep = true,
    .automatic_rank = 2};

/// The smallest window in bytes, also if base lies close above the end of its page-table page.
constexpr std::size_t least_window = std::size_t{128} * 1024;

/// A stack too small to have a page-table page of its own is window from top to bottom.
bool is_small(std::size_t with_guard) noexcept {
  return with_guard < 2 * handler::page_table_span();
}

std::uintptr_t window_end(const Bounds& bounds, const Layout& layout) noexcept {
  return bounds.base - layout.window;
}

class GuardMarkers final : public Implementation {
 public:
  constexpr GuardMarkers() noexcept : Implementation(guard_markers) {}

  /// Rounds slots that are not small up to a multiple of 2 MiB. The stack gets the excess.
  [[nodiscard]] Layout layout(const StackOptions& options) const noexcept override {
    const std::size_t span = handler::page_table_span();
    const std::size_t guard = options.guard;
    if (is_small(options.reserve + guard)) {
      Layout small = layout_with_small_pages(options);
      small.window = options.reserve;
      return small;
    }
    const std::size_t huge_from = options.policy.huge_from;
    // Base shares its page-table page with the guard above it. `uppermost` is the part of the stack
    // that lies in that page: as much as there is room for, unless huge pages begin sooner.
    const std::size_t room = span - guard % span;
    const std::size_t uppermost =
        huge_from == 0 ? room : std::min(room, std::max(huge_from, least_window));
    const std::size_t slot_size = vm::round_up(options.reserve + guard, span);
    return {.first = uppermost % span,
            .slot_size = slot_size,
            .reserve = slot_size - guard,
            .guard = guard,
            .huge_from = huge_from == 0 ? 0 : uppermost,
            .window = std::min(uppermost < least_window ? uppermost + span : uppermost,
                               slot_size - guard)};
  }

  [[nodiscard]] int prepare(const Bounds& bounds, const Layout& layout) const noexcept override {
    const std::size_t size = bounds.base - bounds.guard;
    int error = commit_in_pieces(bounds, bounds.guard, layout.pages(), layout.core_depth);
    if (error == 0) {
      error = install_guard(bounds, layout.pages());
      if (error == 0) {
        const std::uintptr_t end = window_end(bounds, layout);
        error = vm::install_markers(end, bounds.base - end);
      }
      if (error != 0) {
        static_cast<void>(vm::decommit(bounds.guard, size, layout.pages()));
      }
    }
    return error;
  }

  [[nodiscard]] std::string explain(int error) const override {
    return error == EINVAL && refusal_of(error) == "madvise: EINVAL"
               ? "MADV_GUARD_INSTALL is not known here (Linux 6.13 has it): take another strategy"
               : std::string();
  }

  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout,
                         const StackOptions& options) const noexcept override {
    const std::uintptr_t limit = first_limit(bounds, options);
    const bool is_in_window = limit > window_end(bounds, layout);  // which is all markers
    const std::uintptr_t marked = lowest_marker(bounds, layout, limit);
    int error = is_in_window ? 0 : vm::install_markers(marked, limit - marked);
    if (error == 0) {
      error = vm::remove_markers(limit, bounds.base - limit);
      if (error != 0 && !is_in_window) {
        static_cast<void>(vm::remove_markers(marked, limit - marked));
      }
    }
    return error;
  }

  [[nodiscard]] int open_in_row(const Bounds& lowest, std::uint32_t count, const Layout& layout,
                                const StackOptions& options) const noexcept override {
    const std::size_t size = row_size(lowest, count, layout);
    if (!are_markers_all(layout)) {
      return ENOTSUP;
    }
    int error = vm::commit_uncharged(lowest.guard, size, layout.pages());
    if (error == 0) {
      error = mark_in_row(lowest, count, layout, options);
      if (error != 0) {
        static_cast<void>(vm::decommit(lowest.guard, size, layout.pages()));
      }
    }
    return error;
  }

  [[nodiscard]] int discard_in_row(std::uintptr_t begin,
                                   std::uintptr_t end) const noexcept override {
    return vm::discard(begin, end - begin);
  }

  /// Removes markers. Once no marker is left, every address down to the floor can be touched. So a
  /// step must not end below the markers at a limit that would claim to have some.
  [[nodiscard]] int commit(const handler::SlotRecord& slot, const Layout& layout,
                           handler::Step step) const noexcept override {
    const Bounds bounds = bounds_of(slot);
    const std::uintptr_t marked = lowest_marker(bounds, layout, step.end);
    if (step.begin < marked && committed_from(bounds, layout, step.begin) != bounds.floor) {
      return EDQUOT;
    }
    const std::uintptr_t begin = std::max(step.begin, marked);
    return vm::remove_markers(begin, step.end - begin);
  }

  /// Discards what lies below `keep_from`, and lets the markers reach up to there. They stay where
  /// they are if that would leave more committed than before: a frame may have jumped over them, or
  /// there are none at a multiple of 2 MiB. Where a trim could not install them, the next one does.
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout& layout,
                         std::uintptr_t keep_from) const noexcept override {
    const Bounds bounds = bounds_of(slot);
    const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
    const bool was_left_below = is_left_below(slot);
    const bool keeps_limit =
        committed_from(bounds, layout, keep_from) <= committed_from(bounds, layout, limit);
    note_depth(slot, layout);
    int error = vm::discard(bounds.floor, keep_from - bounds.floor);
    if (error != 0 || (keeps_limit && (!was_left_below || keep_from < limit))) {
      return error;
    }
    const std::uintptr_t raised = keeps_limit ? limit : keep_from;
    const std::uintptr_t marked_now = lowest_marker(bounds, layout, limit);
    const std::uintptr_t marked = lowest_marker(bounds, layout, raised);
    if (marked_now < marked) {
      error = vm::remove_markers(marked_now, limit - marked_now);
    }
    return error != 0 ? error : with_limit_raised(slot, raised, [&](const BeforeTrim& before) {
      // Asked here, because another thread may have grown the stack until the limit was raised.
      const std::uintptr_t from = marked < window_end(bounds, layout)
                                      ? marked
                                      : whole_window_to(slot, layout, before.is_left_below);
      return vm::install_markers(from, raised - from);
    });
  }

  /// Leaves the markers that a slot has between two stacks: on all of its window, up to base, and
  /// on its guard.
  [[nodiscard]] int close(const handler::SlotRecord& slot,
                          const Layout& layout) const noexcept override {
    const Bounds bounds = bounds_of(slot);
    const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
    const std::uintptr_t marked = lowest_marker(bounds, layout, limit);
    const std::uintptr_t end = window_end(bounds, layout);
    int error = vm::discard(bounds.floor, end - bounds.floor);
    if (error == 0) {  // what the program has forbidden
      error = vm::commit(bounds.floor, bounds.base - bounds.floor);
    }
    if (error == 0 && marked < end) {
      error = vm::remove_markers(marked, limit - marked);
    }
    const std::uintptr_t from = whole_window_to(slot, layout, is_left_below(slot));
    return error == 0 ? vm::install_markers(from, bounds.base - from) : error;
  }

  /// Where no markers end at the limit, every address down to the floor can be touched.
  [[nodiscard]] std::uintptr_t committed_from(const Bounds& bounds, const Layout& layout,
                                              std::uintptr_t limit) const noexcept override {
    return lowest_marker(bounds, layout, limit) < limit ? limit : bounds.floor;
  }

  [[nodiscard]] std::uintptr_t high_water(const handler::SlotRecord& slot,
                                          const Layout& layout) const noexcept override {
    return std::min(slot.high_water.load(std::memory_order_acquire),
                    deepest_below_window(bounds_of(slot), layout));
  }

 private:
  /// Installs the markers of guards and windows. In small slots the two are adjacent.
  [[nodiscard]] int mark_in_row(const Bounds& lowest, std::uint32_t count, const Layout& layout,
                                const StackOptions& options) const noexcept {
    vm::MarkerList markers;
    const std::uintptr_t limit = first_limit(lowest, options);
    const std::uintptr_t marked = lowest_marker(lowest, layout, limit);
    int error = 0;
    for (std::uint32_t index = 0; error == 0 && index < count; ++index) {
      const std::size_t above = index * layout.slot_size;
      if (marked == lowest.floor) {
        error = markers.install(lowest.guard + above, limit - lowest.guard);
      } else {
        error = markers.install(lowest.guard + above, lowest.floor - lowest.guard);
        error = error == 0 ? markers.install(marked + above, limit - marked) : error;
      }
    }
    return error == 0 ? markers.finish() : error;
  }

  static std::uintptr_t begin_of_span(std::uintptr_t address) noexcept {
    return address / handler::page_table_span() * handler::page_table_span();
  }

  /// Returns where the markers begin that end at this limit; the limit itself if there are none.
  /// This is the one rule for the places of markers: within the window they reach down to its end,
  /// and below it, with huge pages, to the beginning of the limit's 2 MiB.
  static std::uintptr_t lowest_marker(const Bounds& bounds, const Layout& layout,
                                      std::uintptr_t limit) noexcept {
    const std::uintptr_t end = window_end(bounds, layout);
    if (limit > end) {
      return end;
    }
    return layout.huge_from == 0 ? limit : std::max(begin_of_span(limit), bounds.floor);
  }

  /// Returns up to where all markers of the window are there: no growth reached below that, and no
  /// trim left it without. Installing those again would take a multiple of the time.
  static std::uintptr_t whole_window_to(const handler::SlotRecord& slot, const Layout& layout,
                                        bool is_left_below) noexcept {
    const std::uintptr_t end = window_end(bounds_of(slot), layout);
    return is_left_below ? end
                         : std::max(end, std::min(slot.high_water.load(std::memory_order_acquire),
                                                  slot.limit.load(std::memory_order_acquire)));
  }

  /// Returns whether markers below the limit may be missing.
  static bool is_left_below(const handler::SlotRecord& slot) noexcept {
    return (slot.marks.load(std::memory_order_acquire) & handler::left_below_mark) != 0;
  }

  static std::uintptr_t deepest_below_window(const Bounds& bounds, const Layout& layout) noexcept {
    const std::uintptr_t end = window_end(bounds, layout);
    const std::uintptr_t lowest = lowest_resident(bounds.floor, end - bounds.floor);
    return lowest == end ? bounds.base : lowest;
  }

  /// Records how deep the stack is, before a trim takes the evidence away.
  static void note_depth(handler::SlotRecord& slot, const Layout& layout) noexcept {
    const Bounds bounds = bounds_of(slot);
    const std::uintptr_t deepest = deepest_below_window(bounds, layout);
    const std::uintptr_t end = window_end(bounds, layout);
    if (deepest < end && slot.limit.load(std::memory_order_acquire) > end) {
      slot.unseen_growth.fetch_add(1, std::memory_order_relaxed);
    }
    std::uintptr_t seen = slot.high_water.load(std::memory_order_relaxed);
    while (deepest < seen &&
           !slot.high_water.compare_exchange_weak(seen, deepest, std::memory_order_release)) {
    }
  }
};

constinit const GuardMarkers instance;

}  // namespace

template <>
const Implementation& implementation_of<Strategy::guard_markers>() noexcept {
  return instance;
}

}  // namespace growstack
