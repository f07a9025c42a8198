// The only lines that know an instruction set: one file each, chosen here.
#pragma once

#if defined(__x86_64__)
#include "machine/x86_64.hpp"
#else
#error \
    "growstack: no machine file for this architecture yet: add handler/machine/<name>.hpp, see x86_64.hpp"
#endif
