// What counts as used although nothing touched it.
#pragma once

namespace growstack {

/// Returns whether vm.overcommit_memory is 2: the kernel charges everything that may be written to,
/// also what is mapped with MAP_NORESERVE. What it returns may be a second old, because to ask
/// takes longer than to make a stack. Not from a signal handler.
[[nodiscard]] bool kernel_charges_all() noexcept;

/// Returns whether a limit counts memory that may be written to and never was: RLIMIT_DATA, or
/// kernel_charges_all(). Not from a signal handler.
[[nodiscard]] bool untouched_memory_counts() noexcept;

}  // namespace growstack
