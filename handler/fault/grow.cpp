#include "fault/grow.hpp"

#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "fault/counters.hpp"
#include "fault/idle_request.hpp"
#include "fault/request.hpp"

#include <cerrno>

namespace growstack::handler {
namespace {

using Commit = int (*)(const Range& range, SlotRecord& slot, Step step) noexcept;

int commit_here(const Range& range, SlotRecord& slot, Step step) noexcept {
  const int error = range.operations->commit(range, slot, step);
  if (error == 0) {
    lower_limit(slot, step);
  }
  return error;
}

/// Commits in the thread that the range's committer names. If that is the helper, and it is
/// missing, gives no answer in time or is refused the memory, commits in the calling thread.
int commit_by_committer(const Range& range, SlotRecord& slot, Step step) noexcept {
  if (range.committer == Committer::helper) {
    if (commit_by_helper(range, slot, step)) {
      tally.by_helper.add_one();
      // Here and not in the helper: one that was left alone may come late, after a trim has raised
      // the limit. Memory that is committed below the limit does no harm.
      lower_limit(slot, step);
      return 0;
    }
    tally.helper_missing.add_one();
  }
  return commit_here(range, slot, step);
}

/// Commits the step, or, if that is refused, as much of it as the touch needs: near a budget or a
/// limit of the process, what the policy wishes may not fit where the touch itself does.
int commit_step_or_need(Commit commits, const Range& range, SlotRecord& slot, Step step,
                        std::uintptr_t address) noexcept {
  const int error = commits(range, slot, step);
  const Step needed{page_down(address), step.end};
  return error != 0 && step.begin < needed.begin ? commit_here(range, slot, needed) : error;
}

/// Does the same, and if not even that fits, tries once more without what is only kept.
int commit_what_fits(Commit commits, const Range& range, SlotRecord& slot, Step step,
                     std::uintptr_t address) noexcept {
  const std::uint32_t looks = looks_at_idle();
  const int error = commit_step_or_need(commits, range, slot, step, address);
  return (error == EDQUOT || error == ENOMEM) && have_idle_given_back(looks)
             ? commit_step_or_need(commit_here, range, slot, step, address)
             : error;
}

int grow_by(Commit commits, const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept {
  for (bool declined = false;;) {
    const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
    const Step step = range.operations->plan(range, slot, address);
    if (step.begin <= address && address < step.end) {
      return commit_what_fits(commits, range, slot, step, address);
    }
    const std::uintptr_t limit_now = slot.limit.load(std::memory_order_acquire);
    if (limit_now <= address) {
      return 0;  // another thread was first
    }
    // Once is not enough: another thread may have grown the stack while plan() looked, and a trim
    // may have put the limit back since.
    if (limit_now == limit && declined) {
      return EDOM;  // the plan would decline for ever
    }
    declined = limit_now == limit;
  }
}

}  // namespace

int grow(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept {
  return grow_by(commit_by_committer, range, slot, address);
}

int grow_here(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept {
  return grow_by(commit_here, range, slot, address);
}

void lower_limit(SlotRecord& slot, Step step) noexcept {
  const auto lower = [&](std::atomic<std::uintptr_t>& word, std::uintptr_t highest) {
    std::uintptr_t seen = word.load(std::memory_order_relaxed);
    while (seen > step.begin && seen <= highest &&
           !word.compare_exchange_weak(seen, step.begin, std::memory_order_release)) {
    }
  };
  // A limit above the end of the step was raised by a trim, which took away what lies between. A
  // trim that goes on may take away all of the step. The limit must not claim that.
  std::uint32_t marks = grown_mark;
  if ((slot.marks.load(std::memory_order_acquire) & trimming_mark) == 0) {
    lower(slot.limit, step.end);
  } else {
    marks |= left_below_mark;
  }
  lower(slot.high_water, UINTPTR_MAX);
  slot.marks.fetch_or(marks, std::memory_order_release);
}

}  // namespace growstack::handler
