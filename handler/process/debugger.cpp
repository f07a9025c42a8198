#include "process/debugger.hpp"

#include <growstack/handler/classify.hpp>

#include <type_traits>

namespace growstack::handler {
namespace {

static_assert(std::is_standard_layout_v<Range> && std::is_standard_layout_v<SlotRecord>,
              "offsetof is defined for no other types");
static_assert(std::is_trivially_copyable_v<DebuggerDescription>);
// A debugger reads an atomic as what it holds.
static_assert(sizeof(std::atomic<std::uintptr_t>) == sizeof(std::uintptr_t) &&
              sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t) &&
              sizeof(std::atomic<Growth>) == sizeof(Growth) && sizeof(TableEntry) == sizeof(void*));
// A debugger knows these by their numbers.
static_assert(static_cast<int>(Growth::by_fault) == 0 &&
              static_cast<int>(Growth::by_bus_error) == 1 &&
              static_cast<int>(Growth::by_monitor) == 2 &&
              static_cast<int>(Growth::by_kernel) == 3);

}  // namespace
}  // namespace growstack::handler

#define GROWSTACK_MEMBER(type, name) \
  { offsetof(growstack::handler::type, name), sizeof(growstack::handler::type::name) }

extern "C" {
// gnu::used, because the only reference is one that the optimizer cannot see through.
[[gnu::used,
  gnu::section("growstack_debugger")]] constinit const growstack::handler::DebuggerDescription
    growstack_debug{.table = &growstack::handler::table,
                    .table_entries = growstack::handler::table_entries,
                    .range_shift = growstack::handler::range_shift,
                    .slot_record_size = sizeof(growstack::handler::SlotRecord),
                    .reach_below_stack_pointer = growstack::handler::reach_below_stack_pointer,
                    .red_zone_bytes = growstack::handler::ThisMachine::red_zone_bytes,
                    .range = {.first_slot = GROWSTACK_MEMBER(Range, first_slot),
                              .slot_size = GROWSTACK_MEMBER(Range, slot_size),
                              .slot_count = GROWSTACK_MEMBER(Range, slot_count),
                              .slots = {offsetof(growstack::handler::Range, slots), sizeof(void*)},
                              .committer = GROWSTACK_MEMBER(Range, committer),
                              .kind = GROWSTACK_MEMBER(Range, kind)},
                    .slot = {.base = GROWSTACK_MEMBER(SlotRecord, base),
                             .floor = GROWSTACK_MEMBER(SlotRecord, floor),
                             .guard = GROWSTACK_MEMBER(SlotRecord, guard),
                             .limit = GROWSTACK_MEMBER(SlotRecord, limit),
                             .high_water = GROWSTACK_MEMBER(SlotRecord, high_water),
                             .largest_step = GROWSTACK_MEMBER(SlotRecord, largest_step),
                             .generation = GROWSTACK_MEMBER(SlotRecord, generation),
                             .growth_faults = GROWSTACK_MEMBER(SlotRecord, growth_faults),
                             .growth = GROWSTACK_MEMBER(SlotRecord, growth),
                             .name = GROWSTACK_MEMBER(SlotRecord, name)}};
}
