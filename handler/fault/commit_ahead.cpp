// Growth without a fault: the same plan and commit, in the thread that asks.
#include <growstack/handler/commit_ahead.hpp>

#include <growstack/handler/classify.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/keep_errno.hpp"
#include "anywhere/sent_signals_blocked.hpp"
#include "fault/grow.hpp"

#include <cerrno>
#include <cstddef>

namespace growstack::handler {

int commit_ahead(std::uintptr_t inside, std::uintptr_t address) noexcept {
  if (is_committed(inside, address)) {
    return 0;
  }
  const KeepErrno keep_errno;
  // What was charged and not yet committed would stay so if a handler left by siglongjmp here.
  const SentSignalsBlocked sent_signals_blocked;
  const PinnedSlot found(inside, Pin::not_needed);
  if (!found) {
    return 0;
  }
  const SlotView slot = view(found.slot());
  if (address < slot.floor) {
    return ENOMEM;
  }
  int error =
      slot.growth == Growth::by_kernel ? ENOMEM : grow_here(found.range(), found.slot(), address);
  // In a forked child nobody watches what a userfaultfd was for: ENOENT. A monitor that does watch
  // would only be refused once more.
  const bool kernel_grows_it = slot.growth == Growth::by_kernel || error == ENOENT;
  if (error != 0 && kernel_grows_it && is_readable(address)) {  // the kernel grows it to read there
    error = 0;
  }
  return error;
}

void commit_for_c_library() noexcept {
  constexpr std::size_t ample = std::size_t{32} * 1024;
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  static_cast<void>(commit_ahead(here, here - ample));
}

}  // namespace growstack::handler
