// The request of a faulting thread to the helper thread, at the other end of a pipe.
//
// The faulting thread writes a Request. The helper reads it, commits, and answers in a Reply, whose
// word is a futex. One compare-and-swap on that word decides who has the request:
//
//     pending --(helper)--> claimed --(helper)--> done, or returned if the memory was refused
//     pending --(faulting thread, after reply_patience)--> returned
//     claimed --(faulting thread, after reply_patience)--> left, or returned if the helper is dead
//     left --(helper, or who finds it dead)--> returned
//
// What is returned or left, the faulting thread commits by itself. So a helper that is absent,
// starved or dead delays a fault, but never hangs it. A helper to which a request was left may
// still commit. So a slot may be retired only once no request for it is left (is_left_to_helper()).
#pragma once

#include <growstack/handler/slot.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/own_descriptor.hpp"

#include <climits>
#include <cstdint>

namespace growstack::handler {

enum class ReplyState : std::uint8_t { pending = 0, claimed = 1, done = 2, returned = 3, left = 4 };

/// `helper` is the thread id of the helper that has the request, or 0.
constexpr std::uint64_t reply_word(std::uint32_t sequence, ReplyState state,
                                   std::uint32_t helper = 0) noexcept {
  return std::uint64_t{helper} << 32U | std::uint32_t{sequence << 3U} |
         static_cast<std::uint64_t>(state);
}
constexpr std::uint32_t sequence_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word) >> 3U;
}
constexpr ReplyState state_of(std::uint64_t word) noexcept {
  return static_cast<ReplyState>(word & 7U);
}
constexpr std::uint32_t helper_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 32U);
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

/// Has the helper commit `step` and waits until it has. Does not lower the limit. Returns false if
/// it did not, for whatever reason; then the caller must commit by itself. The caller holds the
/// slot pinned, and is no vfork child. Signal handlers.
[[nodiscard]] bool commit_by_helper(const Range& range, SlotRecord& slot, Step step) noexcept;

/// Returns whether a helper that lives may still commit in the slot, of which nothing is pinned any
/// more. Ends the requests that were left to helpers that are dead. Any thread.
[[nodiscard]] bool is_left_to_helper(const SlotRecord& slot) noexcept;

/// Ends a request that was left. By the helper that has it, or by who found that helper dead.
void end_left_request(Reply& reply, std::uint64_t word) noexcept;

}  // namespace growstack::handler
