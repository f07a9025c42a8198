#include "fault/grow.hpp"

#include <growstack/handler/classify.hpp>
#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/ranges.hpp>

#include "fault/request.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace growstack::handler {
namespace {

/// Written by whoever grows a stack, read by growth_tally(); statistics only.
std::atomic<std::uint64_t> growths{0};
std::atomic<std::uint64_t> remote_growths{0};
std::atomic<std::uint64_t> by_helper{0};
std::atomic<std::uint64_t> helper_missing{0};

int commit_here(const Range& range, SlotRecord& slot, Step step) noexcept {
  const int error = range.operations->commit(range, slot, step);
  if (error == 0) {
    lower_limit(slot, step);
  }
  return error;
}

/// By whom the range says.
int commit(const Range& range, SlotRecord& slot, Step step) noexcept {
  if (range.committer == Committer::helper) {
    if (const std::optional<int> answer = commit_by_helper(range, slot, step)) {
      by_helper.fetch_add(1, std::memory_order_relaxed);
      return *answer;
    }
    helper_missing.fetch_add(1, std::memory_order_relaxed);
  }
  return commit_here(range, slot, step);
}

/// A plan that does not help: better an end than a loop.
bool reaches(Step step, std::uintptr_t address) noexcept { return step.begin <= address; }

/// Makes the kernel touch the page, as any system call would: it grows what grows by itself, and
/// says EFAULT where it does not. The signal mask is read from there and then refused, for no `how`
/// is -1.
bool touch_by_kernel(std::uintptr_t address) noexcept {
  constexpr int no_such_how = -1;
  constexpr std::size_t mask_bytes = 8;
  const std::uintptr_t aligned = address & ~(mask_bytes - 1);
  return syscall(SYS_rt_sigprocmask, no_such_how, aligned, nullptr, mask_bytes) != 0 &&
         errno == EINVAL;
}

}  // namespace

int grow(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept {
  const Step step = range.operations->plan(range, slot, address);
  return reaches(step, address) ? commit(range, slot, step) : EDOM;
}

int grow_here(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept {
  const Step step = range.operations->plan(range, slot, address);
  return reaches(step, address) ? commit_here(range, slot, step) : EDOM;
}

int commit_ahead(std::uintptr_t inside, std::uintptr_t address) noexcept {
  if (is_committed(inside, address)) {
    return 0;
  }
  const PinnedSlot pinned(inside);
  if (!pinned) {
    return 0;
  }
  const SlotView slot = view(pinned.slot());
  if (address >= slot.limit) {
    return 0;
  }
  if (address < slot.floor) {
    return ENOMEM;
  }
  const int kept = errno;
  int error =
      slot.growth == Growth::by_kernel ? ENOMEM : grow_here(pinned.range(), pinned.slot(), address);
  // Beyond a budget nobody does: guard_markers' window would stay where it is, and a monitor would
  // let the process die.
  if (error != 0 && error != EDQUOT && touch_by_kernel(address)) {
    error = 0;  // the kernel grows it, as it does in a forked child what userfaultfd was for
  }
  errno = kept;
  return error;
}

void count_growth(SlotRecord& slot, bool remote) noexcept {
  slot.growth_faults.fetch_add(1, std::memory_order_relaxed);
  growths.fetch_add(1, std::memory_order_relaxed);
  if (remote) {
    slot.remote_growth_faults.fetch_add(1, std::memory_order_relaxed);
    remote_growths.fetch_add(1, std::memory_order_relaxed);
  }
}

GrowthTally growth_tally() noexcept {
  const auto read = [](const std::atomic<std::uint64_t>& event) {
    return event.load(std::memory_order_relaxed);
  };
  return {.growth = read(growths),
          .remote_growth = read(remote_growths),
          .by_helper = read(by_helper),
          .helper_missing = read(helper_missing)};
}

}  // namespace growstack::handler
