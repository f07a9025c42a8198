#include "strategies/userfault_filled.hpp"

#include "errors.hpp"
#include "memory/vm.hpp"
#include "strategies/core_dumps.hpp"
#include "strategies/limit_raised.hpp"

#include <cerrno>
#include <string>

namespace growstack {
namespace {

using handler::Filling;

/// In bytes: more than the thread and its userfaultfd map.
constexpr std::size_t thread_needs = std::size_t{16} * 1024 * 1024;

std::string why_refused(int error) {
  switch (error) {
    case EPERM:
      return "userfaultfd is forbidden here: by a seccomp filter, as in many containers, or, on "
             "kernels before 5.11, because vm.unprivileged_userfaultfd is 0: allow the call, or "
             "take another strategy";
    case ENOSYS:
      return "this kernel is built without userfaultfd(2), or a seccomp filter does not know it: "
             "allow the call, or take another strategy";
    case EBADF:
      return "the program closed a descriptor of this library: let it close only its own";
    default:
      return "this kernel's userfaultfd does not know what is needed (Linux 5.9 does): "
             "take another strategy";
  }
}

/// The thread keeps the userfaultfd in a descriptor table of its own, and cannot do without one: if
/// the program closed it, the kernel would forget what it watches.
std::string which_call_is_refused(int error) {
  return error == EPERM || error == ENOSYS
             ? ": a filter forbids pthread_create(3), fstat(2) or close_range(2)"
             : "";
}

}  // namespace

void UserfaultFilled::start() const {
  bool is_refused = false;
  if (const int error = handler::start_userfault(kind_, is_refused); is_refused) {
    fail(error,
         std::string(description().name) + ": " + refusal_of(error) + ": " + why_refused(error));
  } else if (error != 0) {
    fail_for_thread(error,
                    std::string(description().name) + ": cannot start the thread of a userfaultfd" +
                        which_call_is_refused(error),
                    thread_needs);
  }
}

int UserfaultFilled::open(const Bounds& bounds, const Layout&,
                          const StackOptions& options) const noexcept {
  return handler::fill_missing_pages(kind_, Filling::page_of_zeros, first_limit(bounds, options),
                                     bounds.base);
}

int UserfaultFilled::commit(const handler::SlotRecord& slot, const Layout&,
                            handler::Step step) const noexcept {
  const std::size_t largest_step = slot.largest_step.load(std::memory_order_relaxed);
  const std::uintptr_t middle =
      step.end - step.begin > largest_step ? step.begin + largest_step : step.end;
  const int error = handler::fill_missing_pages(kind_, Filling::memory, step.begin, middle);
  return error == 0 ? handler::fill_missing_pages(kind_, Filling::page_of_zeros, middle, step.end)
                    : error;
}

int UserfaultFilled::trim(handler::SlotRecord& slot, const Layout&,
                          std::uintptr_t keep_from) const noexcept {
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  const auto discard_all = [&](const BeforeTrim&) { return vm::discard(floor, keep_from - floor); };
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  return keep_from <= limit ? discard_all({}) : with_limit_raised(slot, keep_from, discard_all);
}

int UserfaultFilled::discard(std::uintptr_t begin, std::size_t size) const noexcept {
  int error = vm::discard(begin, size);
  if (error == 0) {
    error = handler::fill_missing_pages(kind_, Filling::page_of_zeros, begin, begin + size);
  }
  return error == ENOENT ? 0 : error;  // ENOENT: nobody watches, in a forked child
}

int UserfaultFilled::watch(std::uintptr_t begin, std::size_t size) const noexcept {
  const int error = vm::commit_uncharged(begin, size, vm::Pages::small);
  return error == 0 ? watch_committed(begin, size) : error;
}

int UserfaultFilled::watch_in_pieces(const Bounds& bounds, std::uintptr_t begin,
                                     const Layout& layout) const noexcept {
  const int error = commit_in_pieces(bounds, begin, vm::Pages::small, layout.core_depth);
  return error == 0 ? watch_committed(begin, bounds.base - begin) : error;
}

int UserfaultFilled::watch_committed(std::uintptr_t begin, std::size_t size) const noexcept {
  const int error = handler::watch_missing_pages(kind_, begin, size);
  if (error != 0) {
    static_cast<void>(vm::decommit(begin, size, vm::Pages::small));
  }
  return error;
}

}  // namespace growstack
