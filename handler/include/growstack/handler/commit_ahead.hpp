// Growth without a fault: for memory that somebody will touch who cannot raise one of ours.
#pragma once

#include <growstack/export.hpp>

#include <cstdint>

namespace growstack::handler {

/// Commits the slot that `inside` lies in down to `address`, by the slot's own plan, in the calling
/// thread, whatever the range's committer is. Costs one look-up and a comparison if that is
/// committed already, or if there is no such slot. The slot must not be retired meanwhile: it is
/// the one that the caller runs on, or owns. Any thread, signal handlers included. Returns 0;
/// ENOMEM below the floor, or if the kernel grows the stack no further; EDOM if the plan declined;
/// or the errno of Operations::commit.
[[nodiscard]] GROWSTACK_EXPORT int commit_ahead(std::uintptr_t inside,
                                                std::uintptr_t address) noexcept;

/// Commits what functions of the C library use below the caller's frame where a growth fault would
/// kill or never come: pthread_create(3) blocks every signal, and sigaction(2) has the kernel write
/// to a frame that nobody has touched. If there is no such room, nothing happens. Any thread,
/// signal handlers included.
GROWSTACK_EXPORT void commit_for_c_library() noexcept;

}  // namespace growstack::handler
