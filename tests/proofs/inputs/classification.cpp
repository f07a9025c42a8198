// classify() against the rules of its header, told as a table of places; and the registers of a
// fault against the manual of the processor.
#include "input.hpp"

#include <growstack/handler/classify.hpp>

#include "machine/machine.hpp"

#include <csignal>

namespace growstack::inputs {
namespace {

using namespace growstack::handler;

__extension__ using Wide = __int128;

enum class Place { below, guard, uncommitted, committed, above };

Place place_of(std::uintptr_t address, const SlotView& slot) {
  return address >= slot.base    ? Place::above
         : address >= slot.limit ? Place::committed
         : address >= slot.floor ? Place::uncommitted
         : address >= slot.guard ? Place::guard
                                 : Place::below;
}

constexpr Wide mebibyte = 1 << 20;

/// A signal frame needs `frame` bytes below the stack pointer. It was lost if they are not all
/// committed, and it ends the stack if there is nothing left to commit.
Outcome expected_of_lost_frame(const Fault& fault, const SlotView& slot, std::size_t frame) {
  const bool runs_here = slot.guard <= fault.stack_pointer && fault.stack_pointer <= slot.base;
  const bool fits = Wide{fault.stack_pointer} - Wide{frame} >= Wide{slot.limit};
  if (!runs_here || slot.growth == Growth::by_kernel) {
    return Outcome::foreign;
  }
  if (fits) {  // a page may be missing all the same, where we fill pages
    return slot.growth == Growth::by_bus_error ? Outcome::discarded : Outcome::foreign;
  }
  return slot.limit == slot.floor ? Outcome::overflow : Outcome::lost_signal_frame;
}

/// Which signals a touch of that place may raise.
bool may_raise(Growth growth, Place place, int signal) {
  switch (place) {
    case Place::below:  // other memory
      return true;
    case Place::guard:  // may be other memory, with SIGSEGV
      return signal == SIGSEGV || growth == Growth::by_bus_error;
    default:
      return signal == (growth == Growth::by_bus_error ? SIGBUS : SIGSEGV);
  }
}

bool is_about_a_missing_page(const Fault& fault) {
  return fault.signal == SIGBUS ? fault.code == BUS_ADRERR
                                : fault.code == SEGV_MAPERR || fault.code == SEGV_ACCERR;
}

Outcome expected(const Fault& fault, const SlotView& slot, std::size_t frame, bool ran_past_guard) {
  if (fault.signal == SIGSEGV && fault.code == SI_KERNEL && fault.address == 0) {
    return expected_of_lost_frame(fault, slot, frame);
  }
  const Place place = place_of(fault.address, slot);
  const Growth growth = slot.growth;
  if (!is_about_a_missing_page(fault) || fault.access == Access::execute ||
      !may_raise(growth, place, fault.signal)) {
    return Outcome::foreign;
  }
  const bool runs_here = (slot.guard <= fault.stack_pointer && fault.stack_pointer <= slot.base) ||
                         (ran_past_guard && fault.stack_pointer < slot.guard);
  const bool is_own_frame =
      runs_here && Wide{fault.stack_pointer} - Wide{fault.address} <= mebibyte;
  const bool runs_below_the_floor = fault.stack_pointer < slot.floor;
  const bool may_be_overflow = is_own_frame && (!fault.page_present || runs_below_the_floor);
  switch (place) {
    case Place::above:
      return Outcome::foreign;
    case Place::committed:
      return fault.page_present               ? Outcome::foreign
             : growth == Growth::by_fault     ? Outcome::spurious
             : growth == Growth::by_bus_error ? Outcome::discarded
                                              : Outcome::foreign;
    case Place::uncommitted:
      if (growth == Growth::by_monitor) {
        return Outcome::foreign;
      }
      if (growth == Growth::by_kernel) {
        return may_be_overflow ? Outcome::overflow : Outcome::foreign;
      }
      return is_own_frame || (!runs_here &&
                              Wide{slot.limit} - Wide{fault.address} <= Wide{slot.largest_step})
                 ? Outcome::growth
                 : Outcome::foreign;
    case Place::guard:
    case Place::below:
      return may_be_overflow ? Outcome::overflow : Outcome::foreign;
  }
  return Outcome::foreign;
}

/// An address near one that matters, or any.
std::uintptr_t any_address(Input& input, const SlotView& slot, std::uintptr_t other) {
  const std::uintptr_t near = input.one_of<std::uintptr_t>(
      {slot.base, slot.limit, slot.floor, slot.guard, other, slot.limit - slot.largest_step, 0});
  const std::uint64_t away = input.magnitude(0, UINT64_MAX);
  return input.flag() ? near - away : near + away;
}

SlotView any_slot(Input& input) {
  SlotView slot;
  slot.guard = input.magnitude(0, std::uint64_t{1} << 46);
  slot.floor = slot.guard + input.magnitude(0, std::uint64_t{1} << 46);
  slot.limit = slot.floor + input.magnitude(0, std::uint64_t{1} << 46);
  slot.base = slot.limit + input.magnitude(0, std::uint64_t{1} << 46);
  slot.largest_step = input.magnitude(0, UINT64_MAX);
  slot.growth =
      input.one_of({Growth::by_fault, Growth::by_bus_error, Growth::by_monitor, Growth::by_kernel});
  return slot;
}

void try_fault(Input& input) {
  const SlotView slot = any_slot(input);
  Fault fault;
  fault.signal = input.one_of<int>({SIGSEGV, SIGBUS});
  fault.code = input.one_of<int>({SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR, SI_KERNEL, SI_USER,
                                  SI_TKILL, SEGV_PKUERR, BUS_MCEERR_AR, 0});
  fault.access = input.one_of({Access::read, Access::write, Access::execute});
  fault.page_present = input.flag();
  fault.may_be_bad_address = input.flag();
  fault.stack_pointer = any_address(input, slot, std::uint64_t{1} << 47);
  fault.address = input.flag() ? any_address(input, slot, fault.stack_pointer)
                               : fault.stack_pointer - input.magnitude(0, 2 * mebibyte);
  if (input.from(0, 7) == 0) {
    fault.address = 0;
  }
  const std::size_t frame = input.magnitude(0, std::uint64_t{1} << 20);
  const bool ran_past_guard = input.flag();
  require_equal(static_cast<std::uint64_t>(classify(fault, slot, frame, ran_past_guard)),
                static_cast<std::uint64_t>(expected(fault, slot, frame, ran_past_guard)),
                "a fault is what the rules say");
}

#if defined(__x86_64__)
/// Intel SDM vol. 3, 4.7: the error code of a page fault; 6.15: the numbers of exceptions.
void try_registers(Input& input) {
  ucontext_t context{};
  auto& registers = context.uc_mcontext.gregs;
  for (int number : {REG_RSP, REG_RIP, REG_ERR, REG_TRAPNO, REG_CR2}) {
    registers[number] = static_cast<greg_t>(input.magnitude(0, UINT64_MAX));
  }
  const auto error = static_cast<std::uint64_t>(registers[REG_ERR]);
  const bool is_fetch = error / 16 % 2 == 1;
  const bool is_write = error / 2 % 2 == 1;
  require(ThisMachine::access(context) == (is_fetch   ? Access::execute
                                           : is_write ? Access::write
                                                      : Access::read),
          "bits 1 and 4 tell the access");
  require(ThisMachine::page_present(context) == (error % 2 == 1), "bit 0 tells of the page");
  require(ThisMachine::may_be_bad_address(context) == (registers[REG_TRAPNO] == 13),
          "13 is the general protection fault");
  require(ThisMachine::last_trap_was_page_fault(context) == (registers[REG_TRAPNO] == 14),
          "14 is the page fault");
  require_equal(ThisMachine::last_fault_address(context),
                static_cast<std::uint64_t>(registers[REG_CR2]), "CR2 has the address");
  require_equal(ThisMachine::stack_pointer(context), static_cast<std::uint64_t>(registers[REG_RSP]),
                "RSP is the stack pointer");
  require_equal(ThisMachine::program_counter(context),
                static_cast<std::uint64_t>(registers[REG_RIP]), "RIP is the program counter");
}
#endif

}  // namespace

void try_input(Input& input) {
#if defined(__x86_64__)
  if (input.from(0, 15) == 0) {
    return try_registers(input);
  }
#endif
  try_fault(input);
}

}  // namespace growstack::inputs
