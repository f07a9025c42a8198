#include "strategies/fault_grown.hpp"

#include "memory/vm.hpp"
#include "strategies/limit_raised.hpp"
#include "strategies/low_end.hpp"

#include <growstack/handler/is_readable.hpp>

#include <algorithm>
#include <cerrno>

namespace growstack {
namespace {

/// Returns whether the program forbade a page of the step. Where nobody watches, that cannot be
/// seen. From the lowest page on, because that is where runtimes have their zones.
bool is_forbidden(const handler::SlotRecord& slot, handler::Step step) noexcept {
  if ((slot.marks.load(std::memory_order_acquire) & low_end_mark) == 0) {
    return false;
  }
  const std::uintptr_t end = std::min(step.end, low_end_of(slot));
  for (std::uintptr_t page = step.begin; page < end; page += vm::page_size()) {
    if (!handler::is_readable(page)) {
      return true;
    }
  }
  return false;
}

/// Gives a part of the low end back: it is neither charged nor resident any more, and readable, so
/// that what the program forbids there can be seen. What the program has forbidden stays so.
int give_back_low_end(std::uintptr_t begin, std::uintptr_t end) noexcept {
  std::uintptr_t page = begin;
  while (page < end) {
    const std::uintptr_t first = page;
    while (page < end && handler::is_readable(page)) {
      page += vm::page_size();
    }
    if (const int error = vm::let_read(first, page - first); error != 0) {
      return error;
    }
    page += vm::page_size();  // one that cannot be read, or the end
  }
  return vm::discard(begin, end - begin);
}

/// Returns whether something below the limit may not be as it was before the stack: the stack grew,
/// or tried to, or a trim left something, or its low end may be read.
bool may_differ_below_limit(const handler::SlotRecord& slot) noexcept {
  constexpr std::uint32_t marks = handler::grown_mark | low_end_mark | handler::left_below_mark;
  return (slot.marks.load(std::memory_order_acquire) & marks) != 0 ||
         slot.growth_faults.load(std::memory_order_relaxed) != 0;
}

}  // namespace

int FaultGrown::open(const Bounds& bounds, const Layout& layout,
                     const StackOptions& options) const noexcept {
  const std::uintptr_t limit = first_limit(bounds, options);
  return vm::commit_anew(limit, bounds.base - limit, layout.pages());
}

int FaultGrown::commit(const handler::SlotRecord& slot, const Layout&,
                       handler::Step step) const noexcept {
  return is_forbidden(slot, step) ? EACCES : vm::commit(step.begin, step.end - step.begin);
}

/// The mark is set last, and taken away first: where it is set, all of the low end can be read
/// unless the program forbade it.
void FaultGrown::watch_low_end(handler::SlotRecord& slot) const noexcept {
  slot.marks.fetch_and(~low_end_mark, std::memory_order_relaxed);
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  const std::uintptr_t end = std::min(slot.limit.load(std::memory_order_acquire), low_end_of(slot));
  if (vm::let_read(floor, end - floor) == 0) {
    slot.marks.fetch_or(low_end_mark, std::memory_order_release);
  }
}

int FaultGrown::permit_all(const handler::SlotRecord& slot) const noexcept {
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  return vm::commit(limit, slot.base.load(std::memory_order_relaxed) - limit);
}

int FaultGrown::trim(handler::SlotRecord& slot, const Layout& layout,
                     std::uintptr_t keep_from) const noexcept {
  // Asked before the limit: a growth that ended before has lowered it, or set the mark.
  const bool is_growing = handler::has_faults(slot);
  const std::uint32_t marks = slot.marks.load(std::memory_order_acquire);
  const bool is_left_below = is_growing || (marks & handler::left_below_mark) != 0;
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  const std::uintptr_t limit_now = slot.limit.load(std::memory_order_acquire);
  if (keep_from <= (is_left_below ? floor : limit_now)) {
    return 0;
  }
  const std::uintptr_t limit = std::max(keep_from, limit_now);
  const int error = with_limit_raised(slot, limit, [&](const BeforeTrim& before) {
    const std::uintptr_t begin = before.is_left_below ? floor : std::min(before.limit, keep_from);
    const std::uintptr_t from =
        (marks & low_end_mark) != 0 ? std::clamp(low_end_of(slot), begin, keep_from) : begin;
    const int failed = give_back_low_end(begin, from);
    return failed != 0 ? failed : vm::decommit(from, keep_from - from, layout.pages());
  });
  if (keep_from < limit) {  // what lies between may be in use, and is not known to be taken
    slot.marks.fetch_or(handler::left_below_mark, std::memory_order_release);
  }
  return error;
}

int FaultGrown::close(const handler::SlotRecord& slot, const Layout& layout) const noexcept {
  // Down to the floor, whatever the limit says: a growth that raced with a trim may have committed
  // below the limit.
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  return vm::decommit(floor, slot.base.load(std::memory_order_relaxed) - floor, layout.pages());
}

int FaultGrown::close_for_the_next(const handler::SlotRecord& slot,
                                   const Layout& layout) const noexcept {
  if (may_differ_below_limit(slot)) {
    return close(slot, layout);
  }
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  return vm::decommit_alone(limit, slot.base.load(std::memory_order_relaxed) - limit);
}

}  // namespace growstack
