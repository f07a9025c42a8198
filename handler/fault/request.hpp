// The request of a faulting thread to the helper thread, at the other end of a pipe.
//
// The faulting thread writes a Request. The helper reads it, commits, lowers `limit`, and answers
// in a Reply, which is a futex word. One compare-and-swap on that word decides who has the request:
//
//     pending --(helper)--> claimed --(helper)--> done
//     pending --(faulting thread, after reply_patience)--> withdrawn
//
// So a helper that is absent or starved delays a fault, but never hangs it. Nor does a helper that
// died after it claimed a request.
#pragma once

#include <growstack/handler/slot.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/own_descriptor.hpp"

#include <climits>
#include <cstdint>
#include <optional>

namespace growstack::handler {

enum class ReplyState : std::uint32_t { pending = 0, claimed = 1, done = 2, withdrawn = 3 };

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

/// Writes a request into the pipe. Returns false if that is not ours any more, is full, or has lost
/// its reader. Signal handlers.
[[nodiscard]] bool send(const Request& request) noexcept;

/// Has the helper commit `step` and waits until it has. Returns 0 or the errno of the commit;
/// nullopt if the helper did not take the request, and then the caller must commit by itself. The
/// caller holds the slot pinned. Signal handlers.
[[nodiscard]] std::optional<int> commit_by_helper(const Range& range, SlotRecord& slot,
                                                  Step step) noexcept;

}  // namespace growstack::handler
