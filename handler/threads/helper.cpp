// The helper thread: the other end of the pipe. It commits and answers; it never touches a page of
// any stack, allocates nothing, and shares no descriptor with the program.
#include "fault/request.hpp"

#include <growstack/handler/ranges.hpp>

#include "anywhere/futex.hpp"
#include "threads/service_thread.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace growstack::handler {
namespace {

pthread_t helper_thread;

void serve(const Request& request) noexcept {
  Reply& reply = *request.reply;
  std::uint32_t expected = reply_word(request.sequence, ReplyState::pending);
  if (!reply.word.compare_exchange_strong(
          expected, reply_word(request.sequence, ReplyState::claimed), std::memory_order_acq_rel)) {
    return;  // withdrawn: the slot may be gone
  }
  // From here on the faulting thread waits, and its pin keeps slot and range.
  reply.error = request.range->operations->commit(*request.range, *request.slot, request.step);
  if (reply.error == 0) {
    lower_limit(*request.slot, request.step);
  }
  reply.word.store(reply_word(request.sequence, ReplyState::done), std::memory_order_release);
  futex_wake(reply.word);
}

/// Until asked to end, or end-of-file: the program closed the write end.
void serve_requests(int read_end) noexcept {
  Request batch[PIPE_BUF / sizeof(Request)];
  for (;;) {
    // The bare system calls, because ThreadSanitizer believes that all threads share one descriptor
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
      serve(batch[index]);
    }
  }
}

/// Between start_helper_thread and the new thread: descriptor and identity going in, 0 or an errno
/// coming out.
struct Start {
  int read_end = -1;
  std::uint32_t identity = 0;
  std::atomic<int> result{pending};
  static constexpr int pending = -1;
};

void* helper_body(void* argument) noexcept {
  auto& start = *static_cast<Start*>(argument);
  const int read_end = start.read_end;
  std::uint32_t identity = start.identity;
  settle_service_thread("stack-helper");
  ask_for_short_slices();
  const int error = keep_descriptors_only({read_end});
  if (error == 0) {
    fork_wiped()->helper_processor.store(0, std::memory_order_relaxed);
    fork_wiped()->helper_id.store(static_cast<std::uint32_t>(syscall(SYS_gettid)),
                                  std::memory_order_relaxed);
    fork_wiped()->helper_runs.store(identity, std::memory_order_release);
  }
  start.result.store(error,
                     std::memory_order_release);  // the last use of `start`, but for the wake
  start.result.notify_one();
  if (error == 0) {
    serve_requests(read_end);
    // Unless another has taken over meanwhile.
    fork_wiped()->helper_runs.compare_exchange_strong(identity, 0, std::memory_order_acq_rel);
    syscall(SYS_close, read_end);
  }
  return nullptr;
}

}  // namespace

int start_helper_thread(int read_end) noexcept {
  // Static, because the new thread may still be about to wake us when we have seen its answer.
  static Start start;
  start.read_end = read_end;
  ++start.identity;
  start.result.store(Start::pending, std::memory_order_relaxed);
  if (const int error = start_service_thread(helper_thread, helper_body, &start); error != 0) {
    return error;
  }
  start.result.wait(Start::pending, std::memory_order_acquire);
  const int error = start.result.load(std::memory_order_acquire);
  if (error != 0) {
    pthread_join(helper_thread, nullptr);
    return error;
  }
  fork_wiped()->helper_joinable.store(1, std::memory_order_relaxed);
  return 0;
}

namespace {
bool claim_helper_thread() noexcept {
  return fork_wiped() != nullptr &&
         fork_wiped()->helper_joinable.exchange(0, std::memory_order_relaxed) != 0;
}
}  // namespace

void join_helper_thread() noexcept {
  if (claim_helper_thread()) {
    pthread_join(helper_thread, nullptr);
  }
}

void abandon_helper_thread() noexcept {
  if (claim_helper_thread()) {
    pthread_detach(helper_thread);
  }
}

}  // namespace growstack::handler
