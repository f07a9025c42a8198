#include "process/symbolizing.hpp"

#include <growstack/handler/report.hpp>

#include "process/life_cycle_lock.hpp"
#include "threads/idle_looks.hpp"
#include "threads/symbolizer.hpp"

namespace growstack::handler {
namespace {

/// Under the life-cycle lock.
constinit bool is_wanted = true;

}  // namespace

void start_symbolizer() noexcept {
  if (is_wanted) {
    static_cast<void>(the_symbolizer.start());
  }
}

void set_symbolizer(bool wanted) noexcept {
  const std::lock_guard no_look(idle_lock());
  const LifeCycleLock lock;
  is_wanted = wanted;
  if (!wanted) {
    the_symbolizer.end();
  }
}

}  // namespace growstack::handler
