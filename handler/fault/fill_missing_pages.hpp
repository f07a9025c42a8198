// Filling pages of memory that a userfaultfd watches.
#pragma once

#include <growstack/handler/userfault.hpp>

#include "anywhere/fork_wiped.hpp"

#include <cstddef>

namespace growstack::handler {

/// The userfaultfd of the kind. Requires fork_wiped().
[[nodiscard]] inline OwnDescriptor& userfault_of(UserfaultKind kind) noexcept {
  return fork_wiped()->userfaults[static_cast<std::size_t>(kind)];
}

/// Says that the monitor has made a page inaccessible, because it was refused the memory for it.
/// From then on all that is filled for the monitor is made accessible. Any thread.
void note_refused_page() noexcept;
/// Returns whether that has ever happened. Signal handlers.
[[nodiscard]] bool pages_were_refused() noexcept;

/// Maps what is copied from, unless it is there. Before the first userfaultfd is open, under the
/// life-cycle lock. Returns 0 or an errno.
[[nodiscard]] int prepare_filling() noexcept;

}  // namespace growstack::handler
