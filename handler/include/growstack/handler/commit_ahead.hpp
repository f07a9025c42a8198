// Growth without a fault: for memory that somebody will touch who cannot raise one of ours.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack::handler {

/// Commits the slot that `inside` lies in down to `address`, by its own plan, in the calling thread
/// whatever the range's committer is. One look-up and a comparison if that is committed already, or
/// if there is no such slot. The slot must not be retired meanwhile: it is the one the caller runs
/// on, or owns. Any thread, signal handlers included. Returns 0; ENOMEM below the floor, or where
/// the kernel grows it no further; or the errno of Operations::commit.
[[nodiscard]] int commit_ahead(std::uintptr_t inside, std::uintptr_t address) noexcept;

}  // namespace growstack::handler

#pragma GCC visibility pop
