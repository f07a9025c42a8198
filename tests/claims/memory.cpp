// Reserving, committing, giving back: address space, physical memory, and what counts when.
#include "claims/claim.hpp"
#include "claims/look.hpp"

using namespace growstack::testing;
