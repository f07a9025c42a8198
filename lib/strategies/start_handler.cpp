#include "strategies/start_handler.hpp"

#include "errors.hpp"

#include <growstack/attach.hpp>
#include <growstack/handler/handler.hpp>

#include <cerrno>
#include <csignal>

namespace growstack {
namespace {

/// In bytes: more than the handler's threads and records map at once.
constexpr std::size_t handler_needs = std::size_t{24} * 1024 * 1024;

/// Returns whether the process may have no such thread: a filter forbids a call that it needs,
/// there can be no more threads, or one would need too large a stack (thread-local storage).
bool tells_of_no_thread(int error) noexcept {
  return error == EPERM || error == ENOSYS || error == EAGAIN || error == EINVAL;
}

/// Starts the helper, if the process may have one. Otherwise the threads that fault commit by
/// themselves, as they do whenever there is no helper.
void start_permitted_helper() {
  const int error = handler::start_helper();
  if (error != 0 && !tells_of_no_thread(error)) {
    fail_for_thread(error, "cannot start the helper thread", handler_needs);
  }
}

}  // namespace

void start_handler(const Implementation& implementation) {
  if (const int error = handler::install(); error != 0) {
    fail_for_thread(error, "cannot install the SIGSEGV handler", handler_needs);
  }
  if (implementation.description().helper_commits) {
    start_permitted_helper();
  }
  implementation.start();
  attach_thread();
}

void look_at_handler(const Implementation& implementation) {
  const bool needs_bus = implementation.description().event == GrowthEvent::bus_error;
  if (!handler::installed() || (needs_bus && !handler::installed(SIGBUS))) {
    start_handler(implementation);
  }
}

}  // namespace growstack
