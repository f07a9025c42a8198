// Mappings, guards and their limits: what stands between a stack and its neighbours, and how much of it there may be.
#include "claims/claim.hpp"
#include "claims/look.hpp"

using namespace growstack::testing;
