#include "strategies/start_handler.hpp"

#include "errors.hpp"

#include <growstack/attach.hpp>
#include <growstack/handler/handler.hpp>

#include <csignal>

namespace growstack {
namespace {

/// In bytes: more than the handler's threads and records map at once.
constexpr std::size_t handler_needs = std::size_t{24} * 1024 * 1024;

}  // namespace

void start_handler(const Implementation& implementation) {
  if (const int error = handler::install(); error != 0) {
    fail_for_thread(error, "cannot install the SIGSEGV handler", handler_needs);
  }
  if (implementation.description().helper_commits) {
    if (const int error = handler::start_helper(); error != 0) {
      fail_for_thread(error, "cannot start the helper thread", handler_needs);
    }
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
