// The main thread's stack: the one that the kernel makes, and grows by itself.
#include "claims/claim.hpp"
#include "claims/look.hpp"

using namespace growstack::testing;
