// What other code asks of the processor: the functions of <growstack/handler/machine.hpp>.
#include <growstack/handler/machine.hpp>

#include <growstack/handler/pages.hpp>
#include "machine/machine.hpp"

#include <sys/auxv.h>

// No function of C++, because compilers take one that consists of assembler code for one that
// throws nothing, and leave out what catches.
asm(".pushsection .text\n"
    "  .globl growstack_call_outermost\n"
    "  .hidden growstack_call_outermost\n"
    "  .type growstack_call_outermost, %function\n"
    "growstack_call_outermost:\n" GROWSTACK_CALL_OUTERMOST
    "  .size growstack_call_outermost, . - growstack_call_outermost\n"
    "  .popsection\n");
extern "C" [[gnu::visibility("hidden")]] void growstack_call_outermost(void (*function)(void*),
                                                                       void* argument);

namespace growstack::handler {

std::size_t red_zone_bytes() noexcept { return ThisMachine::red_zone_bytes; }

std::size_t signal_frame_bytes() noexcept {
  const unsigned long told = getauxval(AT_MINSIGSTKSZ);
  return ThisMachine::red_zone_bytes + (told != 0 ? told : ThisMachine::untold_frame_bytes);
}

std::size_t page_table_span() noexcept {
  return page_size() / ThisMachine::page_table_entry_bytes * page_size();
}

void call_outermost(void (*function)(void*), void* argument) {
  growstack_call_outermost(function, argument);
}

}  // namespace growstack::handler
