#include "explorer/modelled.hpp"

#include <linux/futex.h>
#include <linux/membarrier.h>

#include <cerrno>
#include <ctime>

namespace modelled {
namespace {

long refused(int error) noexcept {
  errno = error;
  return -1;
}

long futex(const Arguments& arguments) {
  const auto* const word = reinterpret_cast<const void*>(arguments[0]);
  if (arguments[1] == FUTEX_WAKE_PRIVATE) {
    explorer::wake(word);
    return 1;
  }
  explorer::require(arguments[1] == FUTEX_WAIT_PRIVATE, "a futex call that is not modelled");
  if (arguments[3] != 0) {
    patience[explorer::this_thread()] = reinterpret_cast<const timespec*>(arguments[3])->tv_sec;
  }
  unsigned& fired = timeouts_fired[explorer::this_thread()];
  const bool may_time_out = arguments[3] != 0 && fired < most_timeouts &&
                            (timeouts_of >> explorer::this_thread() & 1U) != 0;
  switch (
      explorer::wait_on(word, static_cast<std::uint32_t>(arguments[2]),
                        may_time_out ? explorer::Timeout::may_fire : explorer::Timeout::never)) {
    case explorer::Woken::by_wake:
      return 0;
    case explorer::Woken::by_timeout:
      ++fired;
      return refused(ETIMEDOUT);
    case explorer::Woken::is_different:
      break;
  }
  return refused(EAGAIN);
}

long membarrier(const Arguments& arguments) {
  if (!has_membarrier) {
    return refused(ENOSYS);
  }
  if (arguments[0] == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
    explorer::barrier_everywhere();
  }
  return 0;
}

}  // namespace

long answer_system_call(long number, const Arguments& arguments) {
  switch (number) {
    case SYS_futex:
      return futex(arguments);
    case SYS_membarrier:
      return membarrier(arguments);
    case SYS_nanosleep:
      explorer::yield();
      return 0;
    case SYS_gettid:
      return first_thread_id + static_cast<long>(explorer::this_thread());
    default:
      explorer::require(static_cast<bool>(answer_call),
                        "a system call that the model does not know");
      return answer_call(number, arguments);
  }
}

}  // namespace modelled
