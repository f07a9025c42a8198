// From an address to a pinned slot, while the slot changes hands and the range goes:
// fault/look_up.cpp against process/ranges.cpp, in every interleaving.
//
// What holds in every execution:
// - Who has a slot pinned sees one tenant in it, and the address lies in that tenant's slot: nobody
//   retires it meanwhile. (The memory of the tenant is accessed without a data race.)
// - What was written before a slot was published is seen by who finds the slot.
// - After retire() nobody is at work in the slot, and nobody finds it.
// - Nobody waits for ever, and no pin stays behind.
// - After a range was removed and its record describes another one, an address of the old one finds
//   nothing, and an address of the new one its slot or nothing.
#include "models/faults.hpp"
#include "models/run.hpp"

#include <doctest/doctest.h>

namespace modelled {
namespace {

/// What a fault reads of the slot that it finds, while it has it pinned.
struct Found {
  bool any = false;
  std::uintptr_t tenant = 0;
};

/// Looks an address up and reads whose memory it is, as a commit would.
Found look_up(std::uintptr_t address) {
  const PinnedSlot pinned(address);
  if (!pinned) {
    return {};
  }
  const SlotRecord& slot = pinned.slot();
  explorer::require(slot.guard.load(std::memory_order_relaxed) <= address &&
                        address < slot.base.load(std::memory_order_relaxed),
                    "a pinned slot does not hold the address");
  const auto index = static_cast<std::size_t>(&slot - slot_memory.data());
  const std::uintptr_t tenant = tenants[index];
  explorer::require(tenant != 0, "a slot is found that nobody lives in");
  explorer::require(tenants[index] == tenant, "the tenant changes while the slot is pinned");
  return {true, tenant};
}

constexpr std::uintptr_t in_slot(std::size_t slot) { return slot_begin + slot * slot_bytes; }

SlotDescription description_of(std::size_t slot) {
  return {.base = in_slot(slot + 1),
          .floor = in_slot(slot),
          .guard = in_slot(slot),
          .limit = in_slot(slot + 1),
          .name = "next"};
}

void move_out(std::uint32_t slot) {
  retire(range_memory, slot);
  tenants[slot] = 0;
}

void move_in(std::uint32_t slot, std::uintptr_t tenant) {
  tenants[slot] = tenant;
  publish(range_memory, slot, description_of(slot));
}

void check_pins() {
  for (const auto& pins : pin_memory) {
    explorer::require(pins.load(std::memory_order_relaxed) == 0, "a pin stays behind");
  }
}

const Ends ends{set_up_faults, check_pins};

TEST_CASE("a slot is retired while two threads look it up") {
  run({[] { look_up(in_slot(0)); }, [] { look_up(in_slot(0)); }, [] { move_out(0); }}, ends);
}

TEST_CASE("a slot changes hands while a thread looks it up twice") {
  run({[] { look_up(in_slot(0)), look_up(in_slot(0)); }, [] { move_out(0), move_in(0, 3); }}, ends);
}

TEST_CASE("a slot changes hands twice while a thread looks it up") {
  run({[] { look_up(in_slot(0)); }, [] { move_out(0), move_in(0, 3), move_out(0), move_in(0, 4); }},
      ends);
}

TEST_CASE("a thread that was told of a new tenant finds that tenant") {
  static explorer::Atomic<int> told;
  run({[] {
         if (told.load(std::memory_order_acquire) == 1) {
           explorer::require(look_up(in_slot(0)).tenant == 3, "the tenant is not found");
         }
       },
       [] {
         move_out(0), move_in(0, 3);
         told.store(1, std::memory_order_release);
       }},
      ends);
}

TEST_CASE("an address outside of what a tenant has of its slot finds nothing") {
  run({[] {
        for (const std::uintptr_t outside : {in_slot(0), in_slot(1) - 1, in_slot(2)}) {
          explorer::require(!look_up(outside).any, "an address finds the stack of another");
          explorer::require(live_slot(outside) == nullptr, "an address finds the slot of another");
        }
        explorer::require(look_up(in_slot(0) + 4096).tenant == 3, "its own address finds nothing");
      }},
      {[] {
         set_up_faults();
         retire(range_memory, 1);
         SlotDescription smaller = description_of(0);
         smaller.guard += 4096;
         smaller.base -= 4096;
         retire(range_memory, 0);
         tenants[0] = 3;
         publish(range_memory, 0, smaller);
       },
       check_pins});
}

TEST_CASE("an address that only the last tenant had does not find the next one") {
  run({[] { explorer::require(look_up(in_slot(0)).tenant != 3, "the bounds of another tenant"); },
       [] {
         move_out(0);
         tenants[0] = 3;
         SlotDescription smaller = description_of(0);
         smaller.guard += 4096;
         publish(range_memory, 0, smaller);
       }},
      ends);
}

TEST_CASE("a slot is found without a pin, and its name and bounds are those of a tenant") {
  run({[] {
         if (const SlotRecord* const slot = live_slot(in_slot(0))) {
           explorer::require(slot == slot_memory.data(), "another slot");
         }
       },
       [] { move_out(0), move_in(0, 3); }},
      ends);
}

// ---- ranges -------------------------------------------------------------------------------------

/// A range of a model that its threads add: of one slot, or of two that are half as large.
constexpr std::uintptr_t added_begin = 2 * range_alignment;

Range* add(std::uintptr_t begin, std::size_t slot_size) {
  Range* added = nullptr;
  explorer::require(add_range({.begin = begin,
                               .size = range_alignment,
                               .first_slot = 0,
                               .slot_size = slot_size,
                               .operations = &operations,
                               .committer = Committer::handler,
                               .owner = nullptr,
                               .kind = "model"},
                              added) == 0,
                    "a range is not added");
  return added;
}

TEST_CASE("a thread looks for a range that is added, given a tenant and removed") {
  run({[] {
         const PinnedSlot pinned(added_begin);
         if (pinned) {
           explorer::require(
               pinned.slot().base.load(std::memory_order_relaxed) == added_begin + range_alignment,
               "a slot of another shape");
           explorer::require(pinned.range().operations == &operations, "no operations");
         }
       },
       [] {
         Range* const range = add(added_begin, range_alignment);
         publish(*range, 0,
                 {.base = added_begin + range_alignment,
                  .floor = added_begin,
                  .guard = added_begin,
                  .limit = added_begin + range_alignment,
                  .name = "new"});
         retire(*range, 0);
         remove_range(*range);
       }},
      ends);
}

TEST_CASE("a range is not added where one is, and can be added again once it was removed") {
  run({[] {
        Range* const first = add(added_begin, range_alignment);
        Range* second = nullptr;
        explorer::require(add_range({.begin = added_begin,
                                     .size = range_alignment,
                                     .first_slot = 0,
                                     .slot_size = range_alignment,
                                     .operations = &operations,
                                     .committer = Committer::handler,
                                     .owner = nullptr,
                                     .kind = "model"},
                                    second) == EEXIST,
                          "two ranges have one address");
        remove_range(*first);
        explorer::require(!in_some_slot(added_begin), "an address of a removed range finds it");
        remove_range(*add(added_begin, range_alignment));
      }},
      ends);
}

TEST_CASE("two threads add and remove ranges, and never get one record") {
  const auto adds = [](std::uintptr_t begin) {
    Range* const range = add(begin, range_alignment);
    range->owner = &range->owner;
    explorer::require(range->begin.load(std::memory_order_relaxed) == begin, "another's record");
    remove_range(*range);
  };
  run({[=] { adds(added_begin); }, [=] { adds(added_begin + range_alignment); }}, ends);
}

}  // namespace
}  // namespace modelled
