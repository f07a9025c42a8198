#include "threads/helper.hpp"

#include <growstack/handler/ranges.hpp>

#include "anywhere/futex.hpp"
#include "anywhere/sent_signals_blocked.hpp"
#include "fault/request.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>

namespace growstack::handler {
namespace {

std::uint32_t id_of_this_thread() noexcept {
  return static_cast<std::uint32_t>(syscall(SYS_gettid));
}

void serve(const Request& request, std::uint32_t self) noexcept {
  Reply& reply = *request.reply;
  const auto word = [&](ReplyState state) { return reply_word(request.sequence, state, self); };
  std::uint64_t expected = reply_word(request.sequence, ReplyState::pending);
  if (!reply.word.compare_exchange_strong(expected, word(ReplyState::claimed),
                                          std::memory_order_acq_rel)) {
    return;  // returned: the slot may be gone
  }
  // From here on the faulting thread waits, and its pin keeps slot and range. If it waits no more,
  // whoever retires the slot waits for us.
  const int error = request.range->operations->commit(*request.range, *request.slot, request.step);
  expected = word(ReplyState::claimed);
  const ReplyState answer = error == 0 ? ReplyState::done : ReplyState::returned;
  if (reply.word.compare_exchange_strong(expected, word(answer), std::memory_order_release)) {
    futex_wake(lower_half(reply.word));
  } else {
    if (error == 0) {
      request.slot->marks.fetch_or(left_below_mark, std::memory_order_release);
    }
    end_left_request(reply, word(ReplyState::left));
  }
}

/// Returns when asked to end, or at end-of-file, because the program closed the write end.
void serve_requests(int read_end) noexcept {
  const std::uint32_t self = id_of_this_thread();
  Request batch[PIPE_BUF / sizeof(Request)];
  for (;;) {
    // The bare system call, because ThreadSanitizer believes that all threads share one descriptor
    // table.
    const ssize_t bytes = syscall(SYS_read, read_end, batch, sizeof batch);
    if (bytes < 0 && errno == EINTR) {
      continue;  // a set*id(2) call in another thread interrupts every thread
    }
    if (bytes <= 0) {
      return;
    }
    // Requests are written whole, and the buffer holds a whole number of them.
    for (std::size_t index = 0; index < static_cast<std::size_t>(bytes) / sizeof(Request);
         ++index) {
      if (batch[index].slot == nullptr) {
        return;
      }
      serve(batch[index], self);
    }
  }
}

/// Tells the scheduler that the calling thread never runs long, so that it goes first among equals
/// (Linux 6.12; older kernels take no notice).
void ask_for_short_slices() noexcept {
  // The kernel's struct sched_attr, which libc does not declare. It is read first, because nice is
  // set with it.
  struct {
    std::uint32_t size, policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t runtime, deadline, period;
  } attributes{};
  constexpr std::uint64_t shortest_slice = 100'000;  // ns
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0) {
    attributes.runtime = shortest_slice;
    syscall(SYS_sched_setattr, 0, &attributes, 0);
  }
}

}  // namespace

constinit Helper the_helper;

void Helper::settle() noexcept {
  ask_for_short_slices();
  ForkWiped& shared = *fork_wiped();
  shared.helper_processor.store(0, std::memory_order_relaxed);
  shared.helper_stalls.store(0, std::memory_order_relaxed);
  shared.helper_left_alone.store(0, std::memory_order_relaxed);
  shared.helper_id.store(id_of_this_thread(), std::memory_order_relaxed);
  shared.helper_runs.store(id_of_this_thread(), std::memory_order_release);
}

void Helper::run(int read_end) noexcept {
  serve_requests(read_end);
  // Unless another one has taken over meanwhile.
  std::uint32_t expected = id_of_this_thread();
  fork_wiped()->helper_runs.compare_exchange_strong(expected, 0, std::memory_order_relaxed);
}

bool Helper::ask_to_end() noexcept {
  const SentSignalsBlocked sent_signals_blocked;  // SIGPIPE, if the helper was killed
  return send(Request{}) == 0;
}

}  // namespace growstack::handler
