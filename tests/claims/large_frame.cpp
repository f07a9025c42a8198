// Compiled twice: as large_frame() with -fno-stack-clash-protection, and as
// large_frame_that_probes() with it.
#include "claims/large_frame.hpp"

namespace growstack::testing {

void GROWSTACK_LARGE_FRAME() {
  volatile char room[large_frame_bytes];
  asm volatile("" : : "r"(room) : "memory");  // the compiler must think that all of it is used
  room[0] = 1;
}

}  // namespace growstack::testing
