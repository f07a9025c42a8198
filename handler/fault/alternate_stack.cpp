#include "fault/alternate_stack.hpp"

#include "anywhere/keep_handler.hpp"
#include "anywhere/raw_line.hpp"
#include "fault/pending_signals.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {
namespace {

/// In bytes: how far below the end of the stack a frame may touch.
constexpr std::size_t reach = std::size_t{64} * 1024;

/// The kernel starts a handler at the upper end of the stack again when the stack pointer has left
/// it, so this handler runs although the stack was full.
bool overflowed(const stack_t& stack, const Fault& fault) noexcept {
  const auto end = reinterpret_cast<std::uintptr_t>(stack.ss_sp);
  const bool touched_below = fault.address < end && end - fault.address <= reach;
  const bool ran_there =
      fault.stack_pointer + reach >= end && fault.stack_pointer < end + stack.ss_size;
  return (stack.ss_flags & SS_DISABLE) == 0 && touched_below && ran_there;
}

}  // namespace

bool report_overflow_of_alternate_stack(const Fault& fault) noexcept {
  stack_t stack{};
  if (change_alternate_stack(nullptr, &stack) != 0 || !overflowed(stack, fault)) {
    return false;
  }
  const KeepPendingSignals keep_pending_signals;
  char thread_name[16] = "";
  prctl(PR_GET_NAME, thread_name);
  RawLine line;
  line << "growstack: the alternate signal stack overflowed: thread "
       << static_cast<std::uint64_t>(syscall(SYS_gettid)) << " \"" << thread_name << "\", "
       << stack.ss_size
       << " bytes: a signal handler needs more: let it use less, or give the thread a "
       << "larger alternate stack (growstack::handler::set_alternate_stack_size); ";
  (line << "fault address ").address(fault.address);
  (line << ", code at ").address(fault.program_counter);
  static_cast<void>(line.write_to_stderr());
  return true;
}

}  // namespace growstack::handler
