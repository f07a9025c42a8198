// The register of ranges against lists that are searched from end to end: ranges come and go
// anywhere in the address space, nothing is mapped there, and addresses at all edges are looked up.
// Which stack code runs on, and which address a fault is judged by, are derived from it: here, too,
// with a memory that the model has.
#include "input.hpp"

#include <growstack/handler/classify.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/table.hpp"
#include "fault/grow.hpp"
#include "fault/running_stack.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdarg>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace growstack::inputs {
namespace {

using namespace growstack::handler;

__extension__ using Wide = unsigned __int128;

constexpr std::size_t page = 4096;
constexpr Wide block = std::size_t{64} << 20;
constexpr Wide end_of_addresses = Wide{1} << 47;

/// Memory of the program, between the ranges: what can be read may be written to as well.
std::uintptr_t memory_begin = 0;
std::uintptr_t memory_end = 0;

bool is_memory(std::uintptr_t address) { return memory_begin <= address && address < memory_end; }

const std::array<Operations, 2> operations{};

struct Stack {
  SlotDescription description;
  std::string name;
};

/// A range that is registered, and its stacks by the number of their slots.
struct Known {
  RangeDescription description;
  Range* range;
  std::size_t slots;
  std::vector<std::pair<std::uint32_t, Stack>> stacks{};

  [[nodiscard]] std::uintptr_t begin_of(std::size_t slot) const {
    return description.begin + description.first_slot + slot * description.slot_size;
  }
};

/// Where an address lies, as one finds out who looks at everything.
struct Found {
  const Known* range = nullptr;
  const Stack* stack = nullptr;
  std::uint32_t index = 0;
};

class Model {
 public:
  std::vector<Known> ranges{};

  ~Model() {
    while (!ranges.empty()) {
      remove(ranges.size() - 1);
    }
  }

  void add(const RangeDescription& description) {
    const Wide begin = description.begin;
    const Wide end = begin + description.size;
    const Wide slots_begin = begin + description.first_slot;
    const bool is_well_formed = begin % block == 0 && description.size % block == 0 &&
                                description.size != 0 && end <= end_of_addresses &&
                                description.slot_size % page == 0 && description.slot_size != 0 &&
                                description.first_slot % page == 0 &&
                                slots_begin + description.slot_size <= end;
    const bool overlaps = std::any_of(ranges.begin(), ranges.end(), [&](const Known& each) {
      return begin < Wide{each.description.begin} + each.description.size &&
             each.description.begin < end;
    });
    Range* range = nullptr;
    const int error = add_range(description, range);
    require_equal(static_cast<std::uint64_t>(error),
                  !is_well_formed ? EINVAL
                  : overlaps      ? EEXIST
                                  : 0,
                  "a range is refused if it is not aligned, or overlaps");
    if (error == 0) {
      const auto slots = static_cast<std::size_t>((end - slots_begin) / description.slot_size);
      require_equal(range->slot_count, slots, "there are as many slots as there is room for");
      ranges.push_back({description, range, slots});
    }
    require_equal(range_count(), ranges.size(), "ranges are counted");
  }

  void remove(std::size_t number) {
    Known& known = ranges[number];
    for (const auto& [index, stack] : known.stacks) {
      retire(*known.range, index);
    }
    remove_range(*known.range);
    ranges.erase(ranges.begin() + static_cast<std::ptrdiff_t>(number));
  }

  [[nodiscard]] Found at(Wide address) const {
    for (const Known& known : ranges) {
      for (const auto& [index, stack] : known.stacks) {
        if (stack.description.guard <= address && address < stack.description.base) {
          return {&known, &stack, index};
        }
      }
    }
    return {};
  }

  [[nodiscard]] const Known* range_with_slot_at(std::uintptr_t address) const {
    for (const Known& known : ranges) {
      if (known.begin_of(0) <= address && address < known.begin_of(known.slots)) {
        return &known;
      }
    }
    return nullptr;
  }

  [[nodiscard]] bool is_registered(std::uintptr_t address) const {
    return std::any_of(ranges.begin(), ranges.end(), [&](const Known& each) {
      return each.description.begin <= address &&
             address - each.description.begin < each.description.size;
    });
  }

  /// The lowest stack whose guard begins at or above the address, no further away than that.
  [[nodiscard]] Found above(std::uintptr_t address, std::size_t reach) const {
    Found best;
    for (const Known& known : ranges) {
      for (const auto& [index, stack] : known.stacks) {
        const std::uintptr_t guard = stack.description.guard;
        if (guard >= address && guard - address <= reach &&
            (best.stack == nullptr || guard < best.stack->description.guard)) {
          best = {&known, &stack, index};
        }
      }
    }
    return best;
  }
};

const SlotRecord* record_of(const Found& found) {
  return found.stack == nullptr ? nullptr : &found.range->range->slots[found.index];
}

RangeDescription any_range(Input& input) {
  const std::size_t blocks = input.from(1, 3);
  const bool is_odd = input.from(0, 15) == 0;
  RangeDescription description{
      // Few places, so that ranges meet: at both ends of the address space, and in the middle.
      .begin = (input.one_of<std::uintptr_t>({0, (1 << 20) - 2, (1 << 21) - 4}) + input.from(0, 5))
               << range_shift,
      .size = blocks << range_shift,
      .first_slot = input.magnitude(0, (1 << 15) - 1) * page,
      .slot_size = input.magnitude(blocks << 5U, blocks << 15U) * page,
      .operations = &operations[input.from(0, 1)]};
  if (is_odd) {
    std::uintptr_t& odd = *input.one_of(
        {&description.begin, &description.size, &description.first_slot, &description.slot_size});
    odd = input.magnitude(0, UINT64_MAX);
    if (description.slot_size < description.size / 8192) {  // too many records to make
      description.slot_size = 0;
    }
    if (description.size > (std::size_t{4} << range_shift)) {
      description.size -= description.size % 2;  // not so many entries, and not aligned
      description.size |= 1;
    }
  }
  return description;
}

void publish_any(Input& input, Known& known) {
  const auto index = static_cast<std::uint32_t>(
      input.flag() ? input.from(0, std::min<std::size_t>(known.slots - 1, 3))
                   : known.slots - 1 - input.from(0, std::min<std::size_t>(known.slots - 1, 3)));
  const auto found = std::find_if(known.stacks.begin(), known.stacks.end(),
                                  [&](const auto& each) { return each.first == index; });
  if (found != known.stacks.end()) {
    retire(*known.range, index);
    known.stacks.erase(found);
    return;
  }
  // A stack lies at the upper end of its slot, and its guard below it; there may be excess bytes.
  const std::size_t pages = known.description.slot_size / page;
  const std::size_t excess = input.from(0, 3) == 0 ? input.magnitude(0, pages - 1) : 0;
  Stack stack;
  stack.description.base = known.begin_of(index) + known.description.slot_size;
  stack.description.guard = known.begin_of(index) + excess * page;
  stack.description.floor = stack.description.guard + input.magnitude(0, pages - excess) * page;
  stack.description.limit =
      stack.description.floor +
      input.magnitude(0, (stack.description.base - stack.description.floor) / page) * page;
  stack.description.largest_step = input.magnitude(0, UINT64_MAX);
  stack.description.growth = input.one_of({Growth::by_fault, Growth::by_bus_error});
  stack.name = input.text(60);
  const std::size_t length = stack.name.find('\0');
  stack.name = stack.name.substr(0, length);
  stack.description.name = stack.name;
  publish(*known.range, index, stack.description);
  require_equal(std::string_view(known.range->slots[index].name),
                std::string_view(stack.name).substr(0, 39), "a name has 39 bytes at most");
  known.stacks.emplace_back(index, std::move(stack));
}

/// An address at an edge, or beside one.
std::uintptr_t any_address(Input& input, const Model& model) {
  std::uintptr_t near = input.one_of<std::uintptr_t>(
      {0, std::uintptr_t{1} << 47, UINTPTR_MAX, memory_begin, memory_end});
  if (!model.ranges.empty() && input.from(0, 7) != 0) {
    const Known& known = model.ranges[input.from(0, model.ranges.size() - 1)];
    near = input.one_of({known.description.begin, known.begin_of(0), known.begin_of(known.slots),
                         known.description.begin + known.description.size});
    if (!known.stacks.empty() && input.from(0, 3) != 0) {
      const SlotDescription& stack =
          known.stacks[input.from(0, known.stacks.size() - 1)].second.description;
      near = input.one_of({stack.base, stack.limit, stack.floor, stack.guard});
    }
  }
  const std::uint64_t away = input.magnitude(0, std::uint64_t{4} << 20);
  return input.flag() ? near - away : near + away;
}

void check_address(Input& input, const Model& model, std::uintptr_t address) {
  const Found expected = model.at(address);
  require(live_slot(address) == record_of(expected), "an address leads to its slot");
  for (const Operations& each : operations) {
    const bool is_its =
        expected.range != nullptr && expected.range->description.operations == &each;
    require(live_slot(address, each) == (is_its ? record_of(expected) : nullptr),
            "an owner finds its own slots only");
  }
  {
    const PinnedSlot pinned(address, input.flag() ? Pin::needed : Pin::not_needed);
    require(static_cast<bool>(pinned) == (expected.stack != nullptr), "a slot is pinned");
    require(!pinned || (&pinned.slot() == record_of(expected) && pinned.index() == expected.index &&
                        &pinned.range() == expected.range->range),
            "the slot that is pinned is the right one");
  }
  const Known* const with_slot = model.range_with_slot_at(address);
  require(in_some_slot(address) == (with_slot != nullptr), "slots have no padding");
  for (const Known& each : model.ranges) {
    require(
        in_vacant_slot(*each.range, address) == (with_slot == &each && expected.stack == nullptr),
        "a slot without a stack is vacant");
  }
  if (expected.stack != nullptr) {
    const std::uintptr_t other = any_address(input, model);
    require(is_committed(address, other) == (other >= expected.stack->description.limit),
            "all from the limit up is committed");
  } else if (!model.is_registered(address)) {
    require(is_committed(address, any_address(input, model)), "what is not ours needs no growth");
  }
  const std::size_t reach = input.magnitude(0, std::size_t{2} << 20);
  require(live_slot_above(address, reach) == record_of(model.above(address, reach)),
          "the next stack above is found");
}

bool is_any_memory(Wide begin, Wide end) {
  return std::max<Wide>(begin, memory_begin) < std::min<Wide>(end, memory_end);
}

/// The stack that code runs on: the one that has the byte below the stack pointer. If no stack has
/// it, the next one above, 1 MiB away at most, unless memory lies between.
Found running(const Model& model, std::uintptr_t stack_pointer) {
  if (const Found there = model.at(stack_pointer - 1); there.stack != nullptr) {
    return there;
  }
  const Found above = model.above(stack_pointer, reach_below_stack_pointer);
  const bool is_other = above.stack != nullptr &&
                        is_any_memory(stack_pointer / page * page, above.stack->description.guard);
  return is_other ? Found{} : above;
}

void check_fault(Input& input, const Model& model) {
  Fault fault;
  fault.signal = input.one_of<int>({SIGSEGV, SIGBUS});
  fault.code = input.one_of<int>({SEGV_MAPERR, SEGV_ACCERR, SI_KERNEL});
  fault.page_present = input.flag();
  fault.stack_pointer = any_address(input, model);
  fault.address = input.from(0, 7) == 0 ? 0 : any_address(input, model);
  const Found runs_on = running(model, fault.stack_pointer);
  const SlotRecord* const found = running_stack(fault.stack_pointer);
  require(found == record_of(runs_on), "the running stack is the one that was left, if any");

  std::uintptr_t expected = fault.address;
  if (fault.signal == SIGSEGV && fault.code == SI_KERNEL && fault.address == 0) {
    expected = fault.stack_pointer - 1;
  } else if (runs_on.stack != nullptr) {
    // "Code that touches what lies below the floor of its own stack, no further than 1 MiB below
    // its stack pointer, overflows that stack, if its guard or a slot without a stack lies there.
    // If a neighbour's reserve or nothing of ours lies there, it is so only if the own stack is
    // used up."
    const SlotDescription& own = runs_on.stack->description;
    const bool is_near = fault.address < own.floor &&
                         (fault.stack_pointer <= fault.address ||
                          fault.stack_pointer - fault.address <= reach_below_stack_pointer);
    const bool has_left = fault.stack_pointer < own.floor;
    const bool is_used_up = has_left || own.limit == own.floor;
    const Found there = model.at(fault.address);
    const bool is_nothing =
        fault.signal == SIGSEGV && !fault.page_present && !is_memory(fault.address);
    const bool is_end =
        there.stack != nullptr ? is_used_up && fault.address < there.stack->description.limit
        : has_left || model.range_with_slot_at(fault.address) != nullptr ? true
                                                                         : is_used_up && is_nothing;
    if (is_near && (fault.address >= own.guard || is_end)) {
      expected = own.base - 1;
    }
  }
  require_equal(address_to_judge_by(fault, found), expected,
                "a touch below the own floor is judged by the own stack");
}

/// What a growth lowers, and what it leaves alone if a trim came between.
void check_lowering(Input& input, Known& known) {
  auto& [index, stack] = known.stacks[input.from(0, known.stacks.size() - 1)];
  SlotRecord& slot = known.range->slots[index];
  const std::uintptr_t floor = stack.description.floor;
  const std::uintptr_t begin = floor + input.magnitude(0, stack.description.base - floor);
  const Step step{.begin = begin,
                  .end = begin + input.magnitude(0, stack.description.base - begin)};
  const std::uintptr_t before = stack.description.limit;
  const std::uintptr_t high_water = slot.high_water;
  lower_limit(slot, step);
  if (step.begin < before && before <= step.end) {
    stack.description.limit = step.begin;
  }
  require_equal(slot.limit, stack.description.limit, "a step that meets the limit lowers it");
  require_equal(slot.high_water, std::min(high_water, step.begin),
                "the high-water mark is the lowest that was ever committed");
  require((slot.marks & grown_mark) != 0, "what has grown is marked");
}

}  // namespace

void try_input(Input& input) {
  Model model;
  memory_begin = input.one_of<std::uintptr_t>({0, (1 << 20) - 1, (1 << 21) - 1}) << range_shift;
  memory_begin += input.magnitude(0, std::size_t{1} << 16) * page;
  memory_end = memory_begin + input.magnitude(0, std::size_t{1} << 12) * page;
  while (!input.is_over()) {
    const std::uint64_t step = input.from(0, 9);
    if (model.ranges.empty() || (step == 0 && model.ranges.size() < 6)) {
      model.add(any_range(input));
    } else if (step == 1) {
      model.remove(input.from(0, model.ranges.size() - 1));
    } else if (Known& known = model.ranges[input.from(0, model.ranges.size() - 1)]; step <= 3) {
      publish_any(input, known);
    } else if (step == 4 && !known.stacks.empty()) {
      check_lowering(input, known);
    } else if (step <= 6) {
      check_fault(input, model);
    } else {
      check_address(input, model, any_address(input, model));
    }
  }
}

}  // namespace growstack::inputs

// The kernel's answers about the model's memory, in place of those about this process.

namespace growstack::handler {

bool is_readable(std::uintptr_t address) noexcept { return inputs::is_memory(address); }

}  // namespace growstack::handler

extern "C" {

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...) {
  std::va_list list;
  va_start(list, number);
  std::array<long, 5> arguments{};  // what is in registers: nobody here needs more
  for (long& each : arguments) {
    each = va_arg(list, long);
  }
  va_end(list);
  if (number == SYS_futex && static_cast<int>(arguments[1]) == FUTEX_WAKE_OP_PRIVATE) {
    if (growstack::inputs::is_memory(static_cast<std::uintptr_t>(arguments[4]))) {
      return 0;
    }
    errno = EFAULT;
    return -1;
  }
  return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                        arguments[4]);
}
}
