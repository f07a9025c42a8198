// All stacks of this process together.
#include <growstack/stack.hpp>

#include "arenas/single_stacks.hpp"
#include "pool/register.hpp"

#include <growstack/handler/handler.hpp>

namespace growstack {

ProcessCounters process_counters() {
  ArenaTotals totals;
  add_single_stacks_to(totals);
  add_pools_to(totals);
  return {.stacks = totals.stacks,
          .arenas = totals.arenas,
          .reserved = totals.reserved,
          .committed = totals.committed,
          .growth_faults = handler::counters().growth};
}

}  // namespace growstack
