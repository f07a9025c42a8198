// What a debugger reads: how to find the stacks of a process, live or in a core dump, in its memory
// alone.
//
// The description lies in a section of its own, so a debugger finds it by the section's name, also
// in programs and plugins that were stripped. A process has as many of them as copies of this
// library. handler/gdb/growstack.py reads it.
#pragma once

#include <growstack/export.hpp>
#include <growstack/handler/slot.hpp>

#include "anywhere/table.hpp"

#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Where a member lies in its structure, in bytes.
struct Member {
  std::uint16_t offset = 0;
  std::uint16_t size = 0;
};

struct DebuggerDescription {
  char magic[16] = "growstack debug";
  /// Raised whenever what follows changes its place or its meaning. A debugger refuses a version
  /// that it does not know.
  std::uint32_t version = 1;
  std::uint32_t size = sizeof(DebuggerDescription);
  /// The word that holds the address of the flat table, 0 before the first stack.
  const std::atomic<TableEntry*>* table = nullptr;
  std::uint64_t table_entries = 0;
  /// An address shifted right by this is the index of its entry, which is a Range's address, or 0.
  std::uint32_t range_shift = 0;
  std::uint32_t slot_record_size = 0;
  std::uint32_t reach_below_stack_pointer = 0;  ///< classify.hpp
  std::uint32_t red_zone_bytes = 0;  ///< what signal_frame_bytes() adds to AT_MINSIGSTKSZ

  struct {
    Member first_slot, slot_size, slot_count, slots, committer, kind;
  } range{};
  struct {
    Member base, floor, guard, limit, high_water, largest_step, generation, growth_faults, growth,
        name;
  } slot{};
};

}  // namespace growstack::handler

/// Exported under this name. Nobody in the process reads it.
extern "C" GROWSTACK_EXPORT const growstack::handler::DebuggerDescription growstack_debug;
