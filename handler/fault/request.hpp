// The pipe between faulting threads and the helper thread.
//
// A faulting thread writes a Request, the helper reads it, commits, lowers `limit`, and answers in
// a Reply (a futex word). Who has the request is decided by one compare-and-swap on that word:
//
//     pending --(helper)--> claimed --(helper)--> done
//     pending --(faulting thread, after reply_patience)--> withdrawn
//
// so a helper that is absent or starved delays a fault, and does not hang it; nor does one that
// died after it claimed.
#pragma once

#include <growstack/handler/slot.hpp>

#include "anywhere/fork_wiped.hpp"

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

/// Has the helper commit `step` of a pinned slot and waits for it. nullopt if the helper did not
/// take it: the caller must commit itself. Otherwise 0 or the errno of the commit. Signal handlers.
std::optional<int> commit_by_helper(const Range& range, SlotRecord& slot, Step step) noexcept;

/// Creates the pipe; the helper's end is for the helper to take over. Under the life-cycle lock. 0
/// or an errno.
int open_request_pipe(int& read_end) noexcept;

/// True while a helper runs and our end of its pipe is open.
bool helper_is_reachable() noexcept;

/// Writes the request to end. False if the write end is not ours any more: the helper saw
/// end-of-file then.
bool ask_helper_to_end() noexcept;

/// Closes the write end if it is still ours. Under the life-cycle lock.
void close_request_pipe() noexcept;

}  // namespace growstack::handler
