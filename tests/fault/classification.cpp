// Whose fault is it? The decision is a pure function of what the kernel said and of the slot, so it
// can be tested without a signal.
#include <doctest/doctest.h>

#include <growstack/handler/classify.hpp>
#include <growstack/handler/machine.hpp>

#include "support/units.hpp"

#include <sys/auxv.h>

#include <csignal>
#include <cstdint>
#include <initializer_list>

using namespace growstack::handler;
using namespace growstack::testing;

namespace {

/// A stack of 256 MiB with a guard of 64 KiB, of which 1 MiB is committed.
constexpr SlotView slot{.base = 0x7000'0000'0000,
                        .floor = slot.base - 256 * MiB,
                        .guard = slot.floor - 64 * KiB,
                        .limit = slot.base - 1 * MiB,
                        .largest_step = 8 * MiB,
                        .growth = Growth::by_fault};

constexpr SlotView with_growth_by_kernel() {
  SlotView view = slot;
  view.growth = Growth::by_kernel;
  return view;
}

constexpr SlotView fully_grown() {
  SlotView view = slot;
  view.limit = view.floor;
  return view;
}

/// The stack pointer of a thread that runs on another stack.
constexpr std::uintptr_t elsewhere = 0x6000'0000'0000;

/// What a signal frame needs.
constexpr std::size_t frame = 4 * KiB;

Fault touch(std::uintptr_t address, std::uintptr_t stack_pointer) {
  return {.address = address,
          .stack_pointer = stack_pointer,
          .code = SEGV_ACCERR,
          .access = Access::write};
}

Outcome outcome(const Fault& fault, const SlotView& view = slot, bool ran_past_guard = false) {
  return classify(fault, view, frame, ran_past_guard);
}

}  // namespace

TEST_CASE("a touch of the next page below the limit, near the stack pointer, is growth") {
  CHECK(outcome(touch(slot.limit - 8, slot.limit - 8)) == Outcome::growth);
  CHECK(outcome(touch(slot.limit - 1, slot.limit + 100)) == Outcome::growth);
}

TEST_CASE("a touch anywhere in a large frame, far above the stack pointer, is growth") {
  CHECK(outcome(touch(slot.limit - 1, slot.floor + 64)) == Outcome::growth);
  CHECK(outcome(touch(slot.floor, slot.floor)) == Outcome::growth);
}

TEST_CASE(
    "a touch a little below the stack pointer is growth, and a touch far below it is a wild "
    "pointer") {
  const std::uintptr_t sp = slot.limit - 10 * MiB;
  CHECK(outcome(touch(sp - red_zone_bytes(), sp)) == Outcome::growth);
  CHECK(outcome(touch(sp - reach_below_stack_pointer, sp)) == Outcome::growth);
  CHECK(outcome(touch(sp - reach_below_stack_pointer - 1, sp)) == Outcome::foreign);
}

TEST_CASE(
    "a touch of the last byte above the floor is growth, and one of the first byte below is "
    "overflow") {
  CHECK(outcome(touch(slot.floor, slot.floor + 8)) == Outcome::growth);
  CHECK(outcome(touch(slot.floor - 1, slot.floor + 8)) == Outcome::overflow);
  CHECK(outcome(touch(slot.guard, slot.guard)) == Outcome::overflow);
}

TEST_CASE("a wild pointer into the guard is a crash, and not an overflow") {
  CHECK(outcome(touch(slot.floor - 1, elsewhere)) == Outcome::foreign);
  CHECK(outcome(touch(slot.floor - 1, slot.base - 100)) == Outcome::foreign);
}

TEST_CASE(
    "a frame that is larger than the guard, ran past it and touches it on the way back is "
    "overflow") {
  const std::uintptr_t sp = slot.guard - 1 * MiB;
  CHECK(outcome(touch(slot.guard + 8, sp), slot, true) == Outcome::overflow);
  CHECK(outcome(touch(slot.guard + 8, sp), slot, false) == Outcome::foreign);
  CHECK(outcome(touch(slot.limit - 8, sp), slot, true) == Outcome::growth);
}

TEST_CASE("a touch from another stack is growth only within the largest step below the limit") {
  CHECK(outcome(touch(slot.limit - 1, elsewhere)) == Outcome::growth);
  CHECK(outcome(touch(slot.limit - slot.largest_step, elsewhere)) == Outcome::growth);
  CHECK(outcome(touch(slot.limit - slot.largest_step - 1, elsewhere)) == Outcome::foreign);
}

TEST_CASE("a largest step of any size lets a touch from another stack be growth") {
  SlotView unbounded = slot;
  unbounded.largest_step = SIZE_MAX;
  CHECK(outcome(touch(slot.limit - 1, elsewhere), unbounded) == Outcome::growth);
  CHECK(outcome(touch(slot.floor, elsewhere), unbounded) == Outcome::growth);
}

TEST_CASE("a touch of memory that is committed by now is spurious") {
  CHECK(outcome(touch(slot.limit, slot.limit)) == Outcome::spurious);
  CHECK(outcome(touch(slot.base - 1, elsewhere)) == Outcome::spurious);
}

TEST_CASE("a fault at a page that is there and forbids the access is foreign") {
  Fault fault = touch(slot.limit + 8, slot.limit);
  fault.page_present = true;
  CHECK(outcome(fault) == Outcome::foreign);
}

TEST_CASE("executing a stack never grows it") {
  for (const std::uintptr_t address : {slot.limit - 8, slot.limit + 8, slot.floor - 8}) {
    Fault fault = touch(address, address);
    fault.access = Access::execute;
    CHECK(outcome(fault) == Outcome::foreign);
  }
}

TEST_CASE("a signal that somebody sent is foreign, whatever address it carries") {
  for (const int code : {SI_USER, SI_QUEUE, SI_TKILL}) {
    Fault fault = touch(slot.limit - 8, slot.limit - 8);
    fault.code = code;
    CHECK(outcome(fault) == Outcome::foreign);
  }
}

TEST_CASE("a protection key violation is foreign") {
  Fault fault = touch(slot.limit - 8, slot.limit - 8);
  fault.code = SEGV_PKUERR;
  CHECK(outcome(fault) == Outcome::foreign);
}

TEST_CASE("an address above the slot is foreign") {
  CHECK(outcome(touch(slot.base, slot.base)) == Outcome::foreign);
}

TEST_CASE(
    "a touch below the guard, within reach of the stack pointer, is overflow of the stack that the "
    "stack pointer is in, whichever signal it raises") {
  for (const int signal : {SIGSEGV, SIGBUS}) {
    CAPTURE(signal);
    for (const std::uintptr_t sp : {slot.guard, slot.floor, slot.floor + 900 * KiB}) {
      Fault fault = touch(slot.guard - 1, sp);
      fault.signal = signal;
      fault.code = SEGV_MAPERR;
      if (signal == SIGBUS) {
        fault.code = BUS_ADRERR;
      }
      CHECK(outcome(fault) == Outcome::overflow);
    }
  }
  CHECK(outcome(touch(slot.guard - 1, slot.floor + MiB)) == Outcome::foreign);
  CHECK(outcome(touch(slot.guard - 1, slot.guard - 8)) == Outcome::foreign);
  CHECK(outcome(touch(slot.guard - 1, slot.guard - 8), slot, true) == Outcome::overflow);
}

TEST_CASE("a program may touch as far below the stack pointer as a Java virtual machine does") {
  const std::uintptr_t sp = slot.limit + 8;
  CHECK(outcome(touch(sp - 84 * KiB, sp)) == Outcome::growth);
  CHECK(outcome(touch(slot.floor - 4 * KiB, slot.floor + 80 * KiB)) == Outcome::overflow);
}

TEST_CASE(
    "where a monitor fills what is missing, a signal above the floor is about a page that the "
    "program forbade") {
  SlotView by_monitor = slot;
  by_monitor.growth = Growth::by_monitor;
  CHECK(outcome(touch(slot.limit - 8, slot.limit - 8), by_monitor) == Outcome::foreign);
  CHECK(outcome(touch(slot.floor - 8, slot.floor), by_monitor) == Outcome::overflow);
}

TEST_CASE(
    "a signal frame that did not fit above the limit is "
    "told from a non-canonical pointer by the stack pointer") {
  const auto kernel_fault = [](std::uintptr_t sp) {
    return Fault{.address = 0, .stack_pointer = sp, .code = SI_KERNEL};
  };
  CHECK(outcome(kernel_fault(slot.limit + 100)) == Outcome::lost_signal_frame);
  CHECK(outcome(kernel_fault(slot.limit + frame - 1)) == Outcome::lost_signal_frame);
  CHECK(outcome(kernel_fault(slot.limit + frame)) == Outcome::foreign);
  SlotView by_bus_error = slot;
  by_bus_error.growth = Growth::by_bus_error;
  CHECK(outcome(kernel_fault(slot.limit + frame), by_bus_error) == Outcome::discarded);
  CHECK(outcome(kernel_fault(elsewhere)) == Outcome::foreign);
  CHECK(outcome(kernel_fault(slot.floor + 100), fully_grown()) == Outcome::overflow);
  CHECK(outcome(kernel_fault(slot.floor + 100), with_growth_by_kernel()) == Outcome::foreign);
}

TEST_CASE(
    "where the kernel grows the stack, a fault near the stack pointer is overflow, because the "
    "kernel refused to grow it") {
  constexpr SlotView by_kernel = with_growth_by_kernel();
  CHECK(outcome(touch(slot.limit - 8, slot.limit - 8), by_kernel) == Outcome::overflow);
  CHECK(outcome(touch(slot.floor - 8, slot.floor), by_kernel) == Outcome::overflow);
  CHECK(outcome(touch(slot.limit - 8, elsewhere), by_kernel) == Outcome::foreign);
  CHECK(outcome(touch(slot.limit + 8, slot.limit), by_kernel) == Outcome::foreign);
}

TEST_CASE(
    "a signal that the memory of a slot does not raise is about a mapping that the program made "
    "there") {
  SlotView by_bus_error = slot;
  by_bus_error.growth = Growth::by_bus_error;
  Fault segv = touch(slot.limit - 8, slot.limit - 8);
  Fault bus = segv;
  bus.signal = SIGBUS;
  bus.code = BUS_ADRERR;
  CHECK(outcome(bus, slot) == Outcome::foreign);
  CHECK(outcome(segv, by_bus_error) == Outcome::foreign);
  CHECK(outcome(bus, by_bus_error) == Outcome::growth);
  segv.address = slot.floor - 8;
  segv.stack_pointer = slot.floor;
  bus.address = segv.address;
  bus.stack_pointer = segv.stack_pointer;
  CHECK(outcome(segv, by_bus_error) == Outcome::overflow);  // a guard may be other memory
  CHECK(outcome(bus, by_bus_error) == Outcome::overflow);
  CHECK(outcome(bus, slot) == Outcome::foreign);
}

TEST_CASE(
    "a page below the floor that is there is the program's, unless the stack pointer is below the "
    "floor, too") {
  Fault fault = touch(slot.floor - 8, slot.floor);
  fault.page_present = true;
  CHECK(outcome(fault) == Outcome::foreign);
  fault.stack_pointer = slot.floor - 16;
  CHECK(outcome(fault) == Outcome::overflow);
}

TEST_CASE("the kernel needs more than the red zone to deliver a signal") {
  CHECK(signal_frame_bytes() > red_zone_bytes() + 1024);
  CHECK(signal_frame_bytes() >= red_zone_bytes() + getauxval(AT_MINSIGSTKSZ));
}
