// Giving the memory of a stack back: while it is idle, suspended, or running.
#include <growstack/stack.hpp>

#include "arenas/arena.hpp"
#include "errors.hpp"
#include "memory/vm.hpp"
#include "stacks/stack_access.hpp"

#include <growstack/handler/machine.hpp>

#include <boost/container_hash/hash.hpp>

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

namespace growstack {
namespace {

/// Bytes that the functions called by trim_current() use below its frame. They must not lose their
/// memory.
constexpr std::size_t frames_of_trim_itself = std::size_t{16} * 1024;

/// Returns the address from which memory is always kept: the next tenant of a pool's stack must
/// find the warm size committed.
std::uintptr_t least_kept_from(OpenSlot slot) noexcept {
  return slot.arena().pool == nullptr ? slot.base() : slot.base() - slot.policy().initial_commit;
}

/// Keeps `margin` bytes committed below the stack pointer. Of the memory there, keeps only what is
/// in use.
int trim_below(OpenSlot slot, std::uintptr_t stack_pointer, std::size_t margin) noexcept {
  const std::size_t below = stack_pointer - slot.floor();
  const std::uintptr_t keep_from = std::min(
      vm::page_down(stack_pointer - std::min(below, std::max(margin, handler::red_zone_bytes()))),
      least_kept_from(slot));
  if (const int error = slot.trim(keep_from); error != 0) {
    return error;
  }
  const std::uintptr_t in_use =
      vm::page_down(stack_pointer - std::min(below, handler::red_zone_bytes()));
  const std::uintptr_t lowest = std::max(keep_from, slot.limit());
  return lowest < in_use ? slot.implementation().discard(lowest, in_use - lowest) : 0;
}

long page_faults_of_this_thread() noexcept {
  rusage used{};
  return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_minflt + used.ru_majflt : -1;
}

TrimWhileRunning trim_now(OpenSlot slot, std::uintptr_t keep_from) noexcept {
  const long page_faults = page_faults_of_this_thread();
  if (page_faults < 0) {
    return {.circumstances = 0, .kept_from = keep_from};
  }
  std::size_t circumstances = 1;
  boost::hash_combine(circumstances, pthread_self());
  boost::hash_combine(circumstances, page_faults);
  boost::hash_combine(circumstances, slot.record().limit.load(std::memory_order_acquire));
  return {.circumstances = circumstances, .kept_from = keep_from};
}

/// Trims only if the thread had a page fault since the last trim. Asking the kernel what memory
/// there is takes many times as long as asking it for the number of page faults.
int trim_if_page_faults_tell(OpenSlot slot, std::uintptr_t keep_from) noexcept {
  TrimWhileRunning& last = slot.tenant().trim_while_running;
  if (last.leaves_nothing_to_do_for(trim_now(slot, keep_from))) {
    return 0;
  }
  const int error = slot.trim(keep_from);
  last = error == 0 ? trim_now(slot, keep_from) : TrimWhileRunning{};
  return error;
}

}  // namespace

std::error_code Stack::trim() noexcept {
  const OpenSlot slot = StackAccess::slot(*this);
  if (slot.is_running()) {
    return error_code(EBUSY);
  }
  // A trim that failed may have raised the limit, and left what it should have given back.
  const std::uintptr_t keep_from = std::max(slot.base() - slot.policy().initial_commit,
                                            slot.record().limit.load(std::memory_order_acquire));
  if (const int error = slot.trim(keep_from); error != 0) {
    return error_code(error);
  }
  const std::uintptr_t lowest = std::max(keep_from, slot.limit());
  return error_code(slot.implementation().discard(lowest, slot.base() - lowest));
}

std::error_code Stack::trim_below(const void* stack_pointer) noexcept {
  const OpenSlot slot = StackAccess::slot(*this);
  const auto at = reinterpret_cast<std::uintptr_t>(stack_pointer);
  if (at < slot.floor() || at > slot.base()) {
    return error_code(EINVAL);
  }
  return error_code(growstack::trim_below(slot, at, slot.policy().headroom));
}

std::error_code Stack::trim_current() noexcept {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const OpenSlot slot = Arena::slot_at(here);
  if (!slot) {
    return error_code(EINVAL);
  }
  const GrowthPolicy& policy = slot.policy();
  const std::uintptr_t keep_from =
      kept_limit(policy, slot.base(), slot.floor(), here,
                 std::max(policy.headroom, frames_of_trim_itself), vm::page_size());
  return error_code(slot.implementation().description().limit_is_exact
                        ? slot.trim(keep_from)
                        : trim_if_page_faults_tell(slot, keep_from));
}

}  // namespace growstack
