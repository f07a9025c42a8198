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

/// Maps what is copied from, unless it is there. Before the first userfaultfd is open, under the
/// life-cycle lock. Returns 0 or an errno.
[[nodiscard]] int prepare_filling() noexcept;

}  // namespace growstack::handler
