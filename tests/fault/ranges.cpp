// The table of ranges: it leads from an address to its slot, without a lock, while ranges come and
// go.
#include <doctest/doctest.h>

#include <growstack/handler/handler.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace growstack::handler;
using namespace growstack::testing;

namespace {

// Look-ups need addresses and no memory, so nothing is mapped here.
constexpr std::uintptr_t somewhere = std::uintptr_t{0x10} << 40;

constexpr Operations no_operations{
    .plan = [](const Range&, const SlotRecord&, std::uintptr_t) noexcept { return Step{}; },
    .commit = [](const Range&, const SlotRecord&, Step) noexcept { return 0; },
    .on_overflow = [](const SlotRecord&, const Fault&, void*,
                      int) noexcept { return Disposition::forward; },
};

struct RemoveRange {
  void operator()(Range* range) const { remove_range(*range); }
};
using OwnedRange = std::unique_ptr<Range, RemoveRange>;

OwnedRange make_range(std::uintptr_t begin, std::size_t size, std::size_t slot_size) {
  Range* range = nullptr;
  REQUIRE(add_range(
              {.begin = begin, .size = size, .slot_size = slot_size, .operations = &no_operations},
              range) == 0);
  return OwnedRange(range);
}

void publish_slot(Range& range, std::uint32_t index, std::size_t slot_size,
                  std::string_view name = "test") {
  const std::uintptr_t guard = range.begin.load() + index * slot_size;
  publish(range, index,
          {.base = guard + slot_size,
           .floor = guard + page_size(),
           .guard = guard,
           .limit = guard + slot_size - page_size(),
           .name = name});
}

bool is_found(std::uintptr_t address) { return static_cast<bool>(PinnedSlot(address)); }

}  // namespace

GROWSTACK_SCENARIO("no memory for pins") {
  bool is_refused = true;
  std::size_t more = 0;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse_argument(SYS_madvise, 2, MADV_WIPEONFORK, ENOMEM);
    const auto attempt = [&] {
      Range* range = nullptr;
      const int error = add_range(
          {.begin = somewhere, .size = GiB, .slot_size = page_size(), .operations = &no_operations},
          range);
      is_refused = is_refused && error == ENOMEM;
    };
    attempt();
    const std::size_t before = status_bytes("VmData");
    attempt();
    attempt();
    more = status_bytes("VmData") - before;
  });
  return is_refused && more < MiB ? 7 : 1;
}

TEST_CASE("a range that is refused for want of memory takes none, however often it is tried") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own");
  }
  const Ended ended = run_scenario("no memory for pins");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

TEST_CASE("a slot record is two cache lines") { CHECK(sizeof(SlotRecord) == 128); }

TEST_CASE("an address that nobody registered has no slot") {
  CHECK_FALSE(is_found(0));
  CHECK_FALSE(is_found(somewhere));
  CHECK_FALSE(is_found(~std::uintptr_t{0}));
  CHECK_FALSE(is_found(reinterpret_cast<std::uintptr_t>(&no_operations)));
}

TEST_CASE("the next stack above an address is found, also from within another stack") {
  const std::size_t slot_size = 64 * KiB;
  const OwnedRange range = make_range(somewhere, range_alignment, slot_size);
  publish_slot(*range, 3, slot_size);
  publish_slot(*range, 4, slot_size);
  const std::uintptr_t guard = somewhere + 3 * slot_size;
  CHECK(live_slot_above(guard, 0) == &range->slots[3]);
  CHECK(live_slot_above(guard + 1, slot_size) == &range->slots[4]);
  CHECK(live_slot_above(guard + 1, slot_size - 2) == nullptr);
  retire(*range, 3);
  retire(*range, 4);
}

TEST_CASE("every address from a live slot's guard to its last byte is found, and nothing else") {
  const std::size_t slot_size = 64 * KiB;
  const OwnedRange range = make_range(somewhere, range_alignment, slot_size);
  publish_slot(*range, 3, slot_size);
  const std::uintptr_t guard = somewhere + 3 * slot_size;
  for (const std::uintptr_t address :
       {guard, guard + 1, guard + slot_size / 2, guard + slot_size - 1}) {
    const PinnedSlot pinned(address);
    REQUIRE(static_cast<bool>(pinned));
    CHECK(pinned.index() == 3);
  }
  CHECK_FALSE(is_found(guard - 1));
  CHECK_FALSE(is_found(guard + slot_size));
  CHECK(in_vacant_slot(*range, guard - 1));
  CHECK_FALSE(in_vacant_slot(*range, guard));
  CHECK_FALSE(in_vacant_slot(*range, somewhere - 1));
  retire(*range, 3);
  CHECK_FALSE(is_found(guard));
}

TEST_CASE("a stack that does not fill its slot is found from its guard to its last byte only") {
  const std::size_t slot_size = 64 * KiB;
  const OwnedRange range = make_range(somewhere, range_alignment, slot_size);
  const std::uintptr_t guard = somewhere + slot_size + 8 * KiB;
  const std::uintptr_t base = guard + 32 * KiB;
  publish(*range, 1,
          {.base = base,
           .floor = guard + page_size(),
           .guard = guard,
           .limit = base - page_size(),
           .name = "test"});
  CHECK(is_found(guard));
  CHECK(is_found(base - 1));
  CHECK_FALSE(is_found(guard - 1));
  CHECK_FALSE(is_found(base));
  CHECK_FALSE(in_vacant_slot(*range, base - 1));
  retire(*range, 1);
}

TEST_CASE(
    "a look at a slot without a stack leaves no pin, and a pin that a fork took is not missed") {
  const std::size_t slot_size = 64 * KiB;
  const OwnedRange range = make_range(somewhere, range_alignment, slot_size);
  publish_slot(*range, 3, slot_size);
  CHECK_FALSE(is_found(somewhere));
  CHECK(range->pins[0] == 0);
  {
    const PinnedSlot pinned(somewhere + 3 * slot_size);
    CHECK(range->pins[3] == 1);
    range->pins[3] = 0;  // as in a child
  }
  CHECK(range->pins[3] == 0);
  retire(*range, 3);
}

TEST_CASE("a new tenant finds neither counters nor marks of the one before") {
  const std::size_t slot_size = 64 * KiB;
  const OwnedRange range = make_range(somewhere, range_alignment, slot_size);
  SlotRecord& slot = range->slots[3];
  publish_slot(*range, 3, slot_size);
  slot.growth_faults = 1;
  slot.remote_growth_faults = 1;
  slot.unseen_growth = 1;
  slot.marks = 1;
  slot.high_water = slot.floor.load();
  retire(*range, 3);
  publish_slot(*range, 3, slot_size);
  CHECK(slot.growth_faults == 0);
  CHECK(slot.remote_growth_faults == 0);
  CHECK(slot.unseen_growth == 0);
  CHECK(slot.marks == 0);
  CHECK(slot.high_water == slot.limit);
  retire(*range, 3);
}

TEST_CASE(
    "a range that was removed leaves its addresses, and its records to a range that they fit") {
  const void* small = nullptr;
  {
    const OwnedRange removed = make_range(somewhere, range_alignment, range_alignment);
    small = removed.get();
  }
  const OwnedRange large = make_range(somewhere, range_alignment, 64 * KiB);
  CHECK(large.get() != small);
  CHECK(large->capacity >= range_alignment / (64 * KiB));
  CHECK(make_range(somewhere + range_alignment, range_alignment, range_alignment).get() == small);
}

TEST_CASE("an owner finds only the slots of ranges that have its own operations") {
  static constexpr Operations of_another = no_operations;
  const std::size_t slot_size = 64 * KiB;
  const OwnedRange range = make_range(somewhere, range_alignment, slot_size);
  publish_slot(*range, 3, slot_size);
  const std::uintptr_t guard = somewhere + 3 * slot_size;
  CHECK(live_slot(guard) == &range->slots[3]);
  CHECK(live_slot(guard, no_operations) == &range->slots[3]);
  CHECK(live_slot(guard, of_another) == nullptr);
  CHECK(live_slot(guard - 1, no_operations) == nullptr);
  retire(*range, 3);
  CHECK(live_slot(guard, no_operations) == nullptr);
}

TEST_CASE(
    "one multiplication finds the slot for every slot size, from one page on, "
    "and every address at a slot's edge") {
  for (std::size_t pages = 1; pages < 6000; pages = pages * 5 / 4 + 1) {
    const std::size_t slot_size = pages * page_size();
    const std::size_t size = (slot_size * 40 / range_alignment + 1) * range_alignment;
    const OwnedRange range = make_range(somewhere, size, slot_size);
    const std::uint32_t slots = range->slot_count.load();
    for (std::uint32_t index = 0; index < slots; ++index) {
      publish_slot(*range, index, slot_size);
    }
    std::size_t wrong = 0;
    for (std::uint32_t index = 0; index < slots; ++index) {
      const std::uintptr_t first = somewhere + index * slot_size;
      for (const std::uintptr_t address : {first, first + slot_size - 1}) {
        const PinnedSlot pinned(address);
        wrong += !pinned || pinned.index() != index ? 1U : 0U;
      }
    }
    CHECK_MESSAGE(wrong == 0, "slot size " << slot_size);
    for (std::uint32_t index = 0; index < slots; ++index) {
      retire(*range, index);
    }
  }
}

TEST_CASE("a range of a million slots over eight terabytes is exact at its far end") {
  const std::size_t slot_size = 8 * MiB;
  const std::size_t slots = 1'000'000;
  const OwnedRange range = make_range(somewhere, slots * slot_size, slot_size);
  publish_slot(*range, slots - 1, slot_size);
  const std::uintptr_t last = somewhere + slots * slot_size - 1;
  {
    const PinnedSlot pinned(last);
    REQUIRE(static_cast<bool>(pinned));
    CHECK(pinned.index() == slots - 1);
  }
  CHECK_FALSE(is_found(last - slot_size));
  retire(*range, slots - 1);
}

TEST_CASE("slots of many terabytes that are no power of two are exact at their edges") {
  constexpr std::size_t tib = std::size_t{1} << 40;
  for (const std::size_t slot_size : {3 * tib, 5 * tib, 7 * tib + page_size(), 11 * tib}) {
    const std::size_t size =
        (std::size_t{96} << 40) / slot_size * slot_size / range_alignment * range_alignment;
    const OwnedRange range = make_range(somewhere, size, slot_size);
    const std::uint32_t slots = range->slot_count.load();
    for (std::uint32_t index = 0; index < slots; ++index) {
      publish_slot(*range, index, slot_size);
      const std::uintptr_t first = somewhere + index * slot_size;
      for (const std::uintptr_t address : {first, first + slot_size - 1}) {
        const PinnedSlot pinned(address);
        REQUIRE(static_cast<bool>(pinned));
        CHECK(pinned.index() == index);
      }
      retire(*range, index);
    }
  }
}

TEST_CASE("bounds that are not aligned, overlap, or leave user space are refused") {
  Range* range = nullptr;
  const auto add = [&](std::uintptr_t begin, std::size_t size, std::size_t slot_size) {
    return add_range(
        {.begin = begin, .size = size, .slot_size = slot_size, .operations = &no_operations},
        range);
  };
  CHECK(add(somewhere + page_size(), range_alignment, 64 * KiB) == EINVAL);
  CHECK(add(somewhere, range_alignment / 2, 64 * KiB) == EINVAL);
  CHECK(add(somewhere, 0, 64 * KiB) == EINVAL);
  CHECK(add(somewhere, range_alignment, 0) == EINVAL);
  CHECK(add(somewhere, range_alignment, 1000) == EINVAL);
  CHECK(add(somewhere, range_alignment, 2 * range_alignment) == EINVAL);
  const std::uintptr_t last_block = ~std::uintptr_t{0} - range_alignment + 1;
  CHECK(add(last_block, range_alignment, 64 * KiB) == EINVAL);
  CHECK(add(last_block, 2 * range_alignment, 64 * KiB) == EINVAL);  // around the end of addresses
  CHECK(add(range_alignment, std::size_t{0} - range_alignment, 64 * KiB) == EINVAL);
  const OwnedRange first = make_range(somewhere, 2 * range_alignment, 64 * KiB);
  CHECK(add(somewhere + range_alignment, range_alignment, 64 * KiB) == EEXIST);
  CHECK(range_count() == 1);
}

TEST_CASE("to retire a slot waits for a fault that works in it") {
  const OwnedRange range = make_range(somewhere, range_alignment, 64 * KiB);
  publish_slot(*range, 0, 64 * KiB);
  std::atomic<bool> retired{false};
  auto pinned = std::make_unique<PinnedSlot>(somewhere);
  REQUIRE(static_cast<bool>(*pinned));
  std::thread owner([&] {
    retire(*range, 0);
    retired = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK_FALSE(retired);
  CHECK_FALSE(is_found(somewhere));  // no new fault gets in
  pinned.reset();
  owner.join();
  CHECK(retired);
}

TEST_CASE("slot records are reused, with a new generation and without the old name") {
  const std::size_t slot_size = 64 * KiB;
  SlotRecord* first_record = nullptr;
  std::uint32_t first_generation = 0;
  {
    const OwnedRange range = make_range(somewhere, range_alignment, slot_size);
    publish_slot(*range, 0, slot_size, "a name that is longer than a slot record has room for");
    first_record = &range->slots[0];
    first_generation = first_record->generation;
    CHECK(std::string(first_record->name) == "a name that is longer than a slot recor");
    retire(*range, 0);
  }
  const OwnedRange range = make_range(somewhere + range_alignment, range_alignment, slot_size);
  publish_slot(*range, 0, slot_size, "b");
  CHECK(&range->slots[0] == first_record);
  CHECK(range->slots[0].generation == first_generation + 2);
  CHECK(std::string(range->slots[0].name) == "b");
  retire(*range, 0);
}

TEST_CASE("limit and high-water mark only ever fall, each to where a commit began") {
  SlotRecord slot;
  slot.limit = 1000;
  slot.high_water = 900;
  lower_limit(slot, {950, 1000});
  CHECK(slot.limit == 950);
  CHECK(slot.high_water == 900);
  lower_limit(slot, {990, 1000});
  CHECK(slot.limit == 950);
  lower_limit(slot, {100, 1000});
  CHECK(slot.limit == 100);
  CHECK(slot.high_water == 100);
}

TEST_CASE("a commit that a trim overtook does not claim what the trim took away") {
  SlotRecord slot;
  slot.limit = 2000;  // raised from 1000 after the step was planned
  slot.high_water = 1000;
  lower_limit(slot, {900, 1000});
  CHECK(slot.limit == 2000);
}

TEST_CASE("a range for whose records there is no memory costs none, however often it is tried") {
  if (under_address_sanitizer || under_thread_sanitizer) {
    return skip("a sanitizer needs more address space than a limit would leave");
  }
  CHECK(exit_code_of_child([] {
          constexpr std::size_t size = 6 * range_alignment;
          const std::size_t records = size / page_size() * sizeof(SlotRecord);
          const auto attempt = [] {
            Range* range = nullptr;
            return add_range({.begin = somewhere,
                              .size = size,
                              .slot_size = page_size(),
                              .operations = &no_operations},
                             range);
          };
          const OwnedRange warm =
              make_range(somewhere - range_alignment, range_alignment, 64 * KiB);
          // Room for the records, and none for the pins.
          set_soft_limit(RLIMIT_AS, status_bytes("VmSize") + records + 128 * KiB);
          static_cast<void>(attempt());
          const std::size_t before = status_bytes("VmSize");
          for (int round = 0; round < 100; ++round) {
            if (attempt() != ENOMEM) {
              return 1;
            }
          }
          return status_bytes("VmSize") == before ? 7 : 2;
        }) == 7);
}

TEST_CASE("a pin that a thread held during fork does not exist in the child") {
  const OwnedRange range = make_range(somewhere, range_alignment, 64 * KiB);
  publish_slot(*range, 0, 64 * KiB);
  {
    const PinnedSlot held(somewhere);
    CHECK(end_of_child([&] {
            retire(*range, 0);  // would wait for ever for a thread of the parent
            return 0;
          }) == 0);
  }
  retire(*range, 0);
}

TEST_CASE(
    "while ranges of other sizes come and go, a look-up finds only a slot that contains the "
    "address") {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> found{0};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> readers;
  for (unsigned reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&, reader] {
      std::uintptr_t step = 7919 + reader;
      while (!stop) {
        step = step * 6364136223846793005U + 1442695040888963407U;
        const std::uintptr_t address = somewhere + (step >> 20U) % (4 * range_alignment);
        const PinnedSlot pinned(address);
        if (pinned) {
          ++found;
          const SlotRecord& slot = pinned.slot();
          wrong += slot.guard.load() <= address && address < slot.base.load() ? 0U : 1U;
        }
      }
    });
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (std::size_t round = 0; std::chrono::steady_clock::now() < end; ++round) {
    const std::size_t slot_size = (64 + 64 * (round % 7)) * KiB;
    const OwnedRange range =
        make_range(somewhere + (round % 3) * range_alignment, range_alignment, slot_size);
    const std::uint32_t slots = range->slot_count.load();
    for (std::uint32_t index = 0; index < slots; ++index) {
      publish_slot(*range, index, slot_size);
    }
    for (std::uint32_t index = 0; index < slots; ++index) {
      retire(*range, index);
    }
  }
  stop = true;
  for (std::thread& reader : readers) {
    reader.join();
  }
  CHECK(found > 0);
  CHECK(wrong == 0);
}
