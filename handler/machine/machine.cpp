// What other code asks of the processor: the functions of <growstack/handler/machine.hpp>.
#include <growstack/handler/machine.hpp>

#include <growstack/handler/pages.hpp>
#include "machine/machine.hpp"

#include <sys/auxv.h>

#include <atomic>

#define GROWSTACK_ASSEMBLER_FUNCTION(name, code)                                    \
  asm(".pushsection .text\n"                                                        \
      "  .globl " name                                                              \
      "\n"                                                                          \
      "  .hidden " name                                                             \
      "\n"                                                                          \
      "  .type " name ", %function\n" name ":\n" code "  .size " name ", . - " name \
      "\n"                                                                          \
      "  .popsection\n")

// No functions of C++, because compilers take one that consists of assembler code for one that
// throws nothing, and leave out what catches.
GROWSTACK_ASSEMBLER_FUNCTION("growstack_call_outermost", GROWSTACK_CALL_OUTERMOST);
GROWSTACK_ASSEMBLER_FUNCTION("growstack_call_on_stack", GROWSTACK_CALL_ON_STACK);
extern "C" {
[[gnu::visibility("hidden")]] void growstack_call_outermost(void (*function)(void*),
                                                            void* argument);
[[gnu::visibility("hidden")]] void growstack_call_on_stack(void* base, void (*function)(void*),
                                                           void* argument) noexcept;
}

namespace growstack::handler {

std::size_t red_zone_bytes() noexcept { return ThisMachine::red_zone_bytes; }

std::size_t signal_frame_bytes() noexcept {
  // Looked up once, because each call() asks. Any thread may write it, and all write the same
  // value.
  static constinit std::atomic<unsigned long> known{0};
  unsigned long bytes = known.load(std::memory_order_relaxed);
  if (bytes == 0) {
    const unsigned long told = getauxval(AT_MINSIGSTKSZ);
    bytes = ThisMachine::red_zone_bytes + (told != 0 ? told : ThisMachine::untold_frame_bytes);
    known.store(bytes, std::memory_order_relaxed);
  }
  return bytes;
}

std::size_t page_table_span() noexcept {
  return page_size() / ThisMachine::page_table_entry_bytes * page_size();
}

void call_outermost(void (*function)(void*), void* argument) {
  growstack_call_outermost(function, argument);
}

void call_on_stack(void* base, void (*function)(void*) noexcept, void* argument) noexcept {
  growstack_call_on_stack(base, function, argument);
}

}  // namespace growstack::handler
