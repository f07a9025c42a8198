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

/// Starts the helper, unless a filter forbids a call that it needs. Then the threads that fault
/// commit by themselves, as they do whenever there is no helper.
void start_permitted_helper() {
  const int error = handler::start_helper();
  if (error != 0 && error != EPERM && error != ENOSYS) {
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
