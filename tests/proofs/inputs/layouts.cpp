// Where the stacks of each strategy lie, against the pictures in the headers: every slot of a row
// is laid out address by address, and compared with its neighbours.
#include "input.hpp"

#include "arenas/kind.hpp"
#include "strategies/implementation.hpp"
#include "strategies/low_end.hpp"

#include <growstack/handler/slot.hpp>
#include <growstack/stack_allocator.hpp>

#include <algorithm>
#include <string_view>

namespace growstack::inputs {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::size_t page = 4096;
constexpr std::size_t table_page = std::size_t{2} << 20;  // what a page of page tables describes
constexpr std::size_t most_bytes = std::size_t{64} << 40;

/// Options as validated() leaves them.
StackOptions any_options(Input& input) {
  const auto pages = [&](std::size_t most) { return input.magnitude(1, most / page) * page; };
  StackOptions options;
  options.strategy = static_cast<Strategy>(input.from(0, 9));
  options.reserve = pages(most_bytes);
  options.guard = pages(most_bytes);
  options.core_depth = pages(most_bytes);
  options.policy.huge_from = input.from(0, table_page / page) * page;
  options.policy.initial_commit = std::min(pages(most_bytes), options.reserve);
  options.policy.factor = static_cast<double>(input.from(4, 64)) / 4;
  return options;
}

bool is_whole(std::uintptr_t address, std::size_t unit) { return address % unit == 0; }

/// The slot of that number, as Layout describes it: the stack lies at the upper end.
Bounds slot_at(std::uintptr_t begin_of_arena, std::size_t index, const Layout& layout) {
  const Wide base =
      Wide{begin_of_arena} + layout.first + (Wide{index} + 1) * Wide{layout.slot_size};
  require(base < Wide{1} << 63U, "the addresses of slots do not overflow");
  const auto address = static_cast<std::uintptr_t>(base);
  return {.base = address,
          .floor = address - layout.reserve,
          .guard = address - layout.reserve - layout.guard};
}

void check_huge_pages(const StackOptions& options, const Kind& kind, const Bounds& bounds) {
  const Layout& layout = kind.layout;
  const bool has_some = kind.description().huge_pages && options.policy.huge_from != 0 &&
                        options.reserve >= 2 * table_page;
  // guard_markers also rounds the reserve up first.
  if (options.strategy != Strategy::guard_markers) {
    require(layout.huge_from == (has_some ? options.policy.huge_from : 0),
            "huge pages begin where the policy says, in stacks of 4 MiB and more");
  }
  require(layout.huge_from == kind.policy.huge_from, "policy and layout agree about huge pages");
  if (layout.huge_from != 0) {
    require(is_whole(bounds.base - layout.huge_from, table_page),
            "huge pages begin at a multiple of their size");
  }
}

void check_markers(const StackOptions& options, const Kind& kind, const Bounds& bounds,
                   const Bounds& above) {
  const Layout& layout = kind.layout;
  const bool is_small = Wide{options.reserve} + options.guard < 2 * table_page;
  require(layout.window <= layout.reserve, "a window is no larger than its stack");
  require(layout.window >= std::min<std::size_t>(128 * 1024, layout.reserve),
          "a window has 128 KiB at least");
  require_equal(layout.reserve % table_page,
                is_small ? options.reserve % table_page
                         : (table_page - options.guard % table_page) % table_page,
                "large reserves are rounded up, so that the slot is whole");
  if (is_small) {
    require_equal(layout.window, options.reserve, "a small stack is window from top to bottom");
    require_equal(layout.huge_from, 0, "a small stack has no huge pages");
    return;
  }
  require(layout.window == layout.reserve || is_whole(bounds.base - layout.window, table_page),
          "a window ends with a page of page tables");
  require(layout.window <= table_page + 128 * 1024, "a window costs two pages of page tables");
  require(above.guard == bounds.base, "the guard above begins at the base");
  const std::size_t shared = options.guard % table_page;
  require(bounds.base % table_page == 0 || bounds.base % table_page + shared <= table_page,
          "base shares its page of page tables with the end of the guard above");
  const std::size_t wanted = options.policy.huge_from;
  require_equal(layout.huge_from,
                wanted == 0 ? 0
                            : std::min(std::max<std::size_t>(wanted, 128 * 1024),
                                       table_page - options.guard % table_page),
                "huge pages begin from 128 KiB to 2 MiB less the guard");
}

/// Where the lowest committed address is for a limit, as the head of each strategy's file says.
void check_committed(const StackOptions& options, const Kind& kind, const Bounds& bounds,
                     std::uintptr_t limit) {
  const std::uintptr_t found = kind.implementation->committed_from(bounds, kind.layout, limit);
  std::uintptr_t expected = limit;
  if (options.strategy == Strategy::guard_markers) {
    // Below the window there are markers only up to a limit in the middle of 2 MiB, and only with
    // huge pages. Without a marker, the kernel fills all down to the floor.
    const bool in_window = bounds.base - limit < kind.layout.window;
    const bool has_markers =
        in_window || (kind.layout.huge_from != 0 && !is_whole(limit, table_page));
    expected = has_markers && limit > bounds.floor ? limit : bounds.floor;
  }
  require_equal(found, expected, "without markers, all down to the floor is committed");
}

void check_first_limit(const StackOptions& options, const Kind& kind, const Bounds& bounds) {
  const bool grows = options.strategy <= Strategy::grows_down;
  const std::size_t at_first = grows ? options.policy.initial_commit : bounds.base - bounds.floor;
  require_equal(bounds.base - kind.implementation->first_limit(bounds, options), at_first,
                "a stack that grows begins with its initial commit, and others with all");
  require(kind.implementation->asked_by_open(bounds, options) >= at_first ||
              options.strategy >= Strategy::userfault,
          "what is asked for is named in messages");
}

void check_low_end(const Bounds& bounds) {
  handler::SlotRecord slot;
  slot.base = bounds.base;
  slot.floor = bounds.floor;
  const std::size_t end = low_end_of(slot) - bounds.floor;
  const std::size_t quarter = (bounds.base - bounds.floor) / page / 4 * page;
  require_equal(end, std::min<std::size_t>(quarter, 1 << 20),
                "the low end is a quarter of the stack, and 1 MiB at most");
}

}  // namespace

void try_input(Input& input) {
  const StackOptions options = any_options(input);
  const Kind kind = Kind::of(options);
  const Layout& layout = kind.layout;
  const bool has_guard = kind.description().guarded;

  require_equal(layout.guard, has_guard ? options.guard : 0, "the guard is as asked for");
  require(layout.reserve >= options.reserve, "no stack is smaller than asked for");
  require(layout.reserve < Wide{options.reserve} + 2 * table_page, "nor much larger");
  require(layout.core_depth == std::max(options.core_depth, layout.window),
          "a core has the window");
  require(kind.policy.factor == std::min(options.policy.factor, kind.description().largest_factor),
          "the factor is at most the largest of the strategy");

  const std::uintptr_t arena = input.from(1, 1 << 18) << handler::range_shift;
  const auto index = static_cast<std::uint32_t>(input.magnitude(
      0, std::min<std::size_t>(1 << 22, (std::size_t{1} << 46) / layout.slot_size)));
  const Bounds first = slot_at(arena, 0, layout);
  const Bounds bounds = slot_at(arena, index, layout);
  const Bounds above_it = slot_at(arena, std::size_t{index} + 1, layout);

  require(first.guard >= arena + layout.first, "the first slot lies in the arena");
  require(above_it.guard >= bounds.base, "no two slots overlap");
  require(
      is_whole(bounds.base, page) && is_whole(bounds.floor, page) && is_whole(bounds.guard, page),
      "all is page aligned");
  const Bounds found = above(first, index, layout);
  require(found.base == bounds.base && found.floor == bounds.floor && found.guard == bounds.guard,
          "above() counts slots");
  require_equal(row_size(first, index + 1, layout), bounds.base - first.guard,
                "row_size() reaches from the lowest guard to the highest base");

  check_huge_pages(options, kind, bounds);
  if (options.strategy == Strategy::guard_markers) {
    check_markers(options, kind, bounds, above_it);
  }
  const std::uintptr_t limit = bounds.base - input.magnitude(0, layout.reserve / page) * page;
  check_committed(options, kind, bounds, limit);
  check_first_limit(options, kind, bounds);
  check_low_end(bounds);

  const auto context = detail::as_context(
      {.base = reinterpret_cast<void*>(bounds.base), .reserved = layout.reserve});
  require(
      reinterpret_cast<std::uintptr_t>(context.sp) == bounds.base && context.size == layout.reserve,
      "a context of Boost has the base and the reserve");
}

}  // namespace growstack::inputs
