// What must hold whenever code begins to run on a stack that exists already.
#pragma once

#include "arenas/arena.hpp"
#include "strategies/start_handler.hpp"

#include <growstack/attach.hpp>
#include <growstack/handler/handler.hpp>

namespace growstack {

/// Attaches this thread, and installs the fault handler anew if somebody has put another in its
/// place. Costs a comparison if nobody can. Throws std::system_error.
inline void make_ready(OpenSlot slot) {
  if (!handler::stays_attached()) {
    attach_thread();
    look_at_handler(slot.implementation());
  }
}

}  // namespace growstack
