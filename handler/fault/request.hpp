// The request of a faulting thread to the helper thread, at the other end of a pipe.
//
// The faulting thread writes a Request. The helper reads it, commits, lowers `limit`, and answers
// in a Reply, which is a futex word. One compare-and-swap on that word decides who has the request:
//
//     pending --(helper)--> claimed --(helper)--> done
//     claimed --(helper, if it was refused the memory)--> returned
//     pending or claimed --(faulting thread, after reply_patience)--> returned
//
// What is returned, the faulting thread commits by itself. So a helper that is absent, starved or
// dead delays a fault, but never hangs it.
//
// A request pins its slot, because a helper that was left alone with a claimed request may still
// commit. Whoever ends the request unpins: the faulting thread, or the helper that was left alone.
#pragma once

#include <growstack/handler/slot.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/own_descriptor.hpp"

#include <climits>
#include <cstdint>

namespace growstack::handler {

enum class ReplyState : std::uint32_t { pending = 0, claimed = 1, done = 2, returned = 3 };

constexpr std::uint32_t reply_word(std::uint32_t sequence, ReplyState state) noexcept {
  return sequence << 2U | static_cast<std::uint32_t>(state);
}

/// What goes through the pipe. A null slot asks the helper to end.
struct Request {
  const Range* range = nullptr;
  SlotRecord* slot = nullptr;
  Step step;
  Reply* reply = nullptr;
  std::uint32_t sequence = 0;
};
static_assert(sizeof(Request) <= PIPE_BUF,
              "pipe(7): writes of up to PIPE_BUF bytes are never interleaved");

/// The write end of the pipe. It does not block: a full pipe (over a thousand threads that fault at
/// once) is a helper that does not keep up.
inline constinit OwnDescriptor request_pipe;

/// Writes a request into the pipe. Returns 0 or an errno: EBADF if the pipe is not ours any more,
/// EAGAIN if it is full, EPIPE if it has lost its reader. Signal handlers.
[[nodiscard]] int send(const Request& request) noexcept;

/// Has the helper commit `step` and waits until it has. Returns false if it did not, for whatever
/// reason; then the caller must commit by itself. The caller holds the slot pinned. Signal
/// handlers.
[[nodiscard]] bool commit_by_helper(const Range& range, SlotRecord& slot, Step step) noexcept;

}  // namespace growstack::handler
