// Growing by fault: a stack that gets its memory when it is touched, by a program that is told so.
#include "claims/claim.hpp"
#include "claims/look.hpp"

using namespace growstack::testing;
