// What a stack that is one large read-write mapping does to a core dump.
#pragma once

#include "strategies/implementation.hpp"

namespace growstack {

/// Into a core dump go the mappings that were ever written to, each in its full length: of 256 GiB
/// in one piece the kernel walks every page, which takes seconds, and makes a file of that apparent
/// size. So a stack larger than usual is several mappings, each reaching 16 times as deep as the
/// one above, and those too deep to have been used are left out. Before any page or marker is
/// there, for all the pieces of what was written to count as written to.
void split_for_core_dumps(const Bounds& bounds) noexcept;

}  // namespace growstack
