// What tests know of an instruction set, in one file for each. A machine file defines in
// growstack::testing::machine
//
//     bare_system_call()          a system call without a call of a function
//     system_call_with_stack_pointer()
//                                 the same while the stack pointer is elsewhere
//     trap_each_instruction()     a signal after each instruction
//     bad_address                 an address for whose use the kernel reports the address 0
//     fill_with_returns()         machine code that returns
//     reads_end_of_split_stack()  whether a function was compiled with -fsplit-stack
#pragma once

#if defined(__x86_64__)
#include "support/machine/x86_64.hpp"
#else
#error "there is no machine file for this processor: add tests/support/machine/<name>.hpp"
#endif
