#include "anywhere/processors.hpp"

#include <growstack/handler/init_order.hpp>

namespace growstack::handler {
namespace {

[[gnu::init_priority(init_foundations)]] const cpu_set_t at_start = [] {
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof processors, &processors) != 0) {
    CPU_ZERO(&processors);
  }
  return processors;
}();

}  // namespace

const cpu_set_t& processors_at_start() noexcept { return at_start; }

}  // namespace growstack::handler
