#include "fault/request.hpp"

#include "anywhere/futex.hpp"
#include "fault/pending_signals.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

/// How long a faulting thread leaves its request to the helper. A helper needs that long only if it
/// gets no processor, because real-time threads have all of them.
constexpr auto reply_patience = 100ms;

/// A reply word for the time of one fault. Each thread starts its search at another word, because
/// it runs on an alternate stack of its own. So in practice each finds its last one again, in its
/// own cache.
class ClaimedReply {
 public:
  explicit ClaimedReply(ForkWiped& shared) noexcept {
    const std::size_t start = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) >> 14U;
    for (std::size_t offset = 0; offset < ForkWiped::reply_count; ++offset) {
      Reply& candidate = shared.replies[(start + offset) % ForkWiped::reply_count];
      if (candidate.taken.load(std::memory_order_relaxed) == 0 &&
          candidate.taken.exchange(1, std::memory_order_acquire) == 0) {
        reply_ = &candidate;
        return;
      }
    }
  }
  ~ClaimedReply() {
    if (reply_ != nullptr) {
      reply_->taken.store(0, std::memory_order_release);
    }
  }
  ClaimedReply(const ClaimedReply&) = delete;
  ClaimedReply& operator=(const ClaimedReply&) = delete;

  explicit operator bool() const noexcept { return reply_ != nullptr; }
  Reply& operator*() const noexcept { return *reply_; }

 private:
  Reply* reply_ = nullptr;
};

/// Returns false if there is no such thread in this process: a seccomp filter can kill one alone.
bool is_alive(std::uint32_t thread) noexcept {
  return syscall(SYS_tgkill, getpid(), thread, 0) == 0 || errno != ESRCH;
}

/// If the kernel refuses, it goes on to choose the processor.
void let_helper_run_on(ForkWiped& shared, const cpu_set_t& processors) noexcept {
  syscall(SYS_sched_setaffinity, shared.helper_id.load(std::memory_order_relaxed),
          sizeof processors, &processors);
}

/// Has the helper run on the processor of the faulting thread, which is about to wait. Waking the
/// helper there takes 10 us. On another processor it takes 40 to 75 us, because that processor
/// sleeps, and must be woken first.
void bring_helper_here(ForkWiped& shared) noexcept {
  const auto here = static_cast<std::uint32_t>(sched_getcpu() + 1);
  const std::uint32_t last = shared.helper_processor.load(std::memory_order_relaxed);
  if (last == here || last == ForkWiped::any_processor ||
      !is_alive(shared.helper_id.load(std::memory_order_relaxed))) {
    return;
  }
  shared.helper_processor.store(here, std::memory_order_relaxed);
  cpu_set_t only_here;
  CPU_ZERO(&only_here);
  CPU_SET(here - 1, &only_here);
  let_helper_run_on(shared, only_here);
}

/// Lets the helper run on any processor from now on: real-time threads kept it from running on the
/// one it was brought to, and once is enough.
void let_helper_go(ForkWiped& shared) noexcept {
  shared.helper_processor.store(ForkWiped::any_processor, std::memory_order_relaxed);
  cpu_set_t any;
  std::memset(&any, 0xFF, sizeof any);  // the kernel takes those that exist
  let_helper_run_on(shared, any);
}

/// Waits for the helper's answer. Returns true if the helper is done, false if the request could be
/// withdrawn or the helper is dead.
bool wait_for(ForkWiped& shared, Reply& reply, std::uint32_t sequence) noexcept {
  for (;;) {
    std::uint32_t word = reply.word.load(std::memory_order_acquire);
    if (word == reply_word(sequence, ReplyState::done)) {
      return true;
    }
    if (!futex_wait(reply.word, word, reply_patience)) {
      continue;
    }
    if (!is_alive(shared.helper_id.load(std::memory_order_relaxed))) {
      shared.helper_runs.store(0, std::memory_order_release);
      return reply.word.load(std::memory_order_acquire) == reply_word(sequence, ReplyState::done);
    }
    let_helper_go(shared);
    word = reply_word(sequence, ReplyState::pending);
    if (reply.word.compare_exchange_strong(word, reply_word(sequence, ReplyState::withdrawn),
                                           std::memory_order_acquire)) {
      return false;
    }
  }
}

}  // namespace

bool send(const Request& request) noexcept {
  const int descriptor = request_pipe.verified();
  if (descriptor < 0) {
    return false;
  }
  // The bare system call, because write(3) would act on a cancellation that the thread has pending.
  const bool sent =
      syscall(SYS_write, descriptor, &request, sizeof request) == static_cast<long>(sizeof request);
  if (!sent && errno == EPIPE) {
    take_back(SIGPIPE);  // the helper was killed, and its end of the pipe with it
  }
  return sent;
}

std::optional<int> commit_by_helper(const Range& range, SlotRecord& slot, Step step) noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr || shared->helper_runs.load(std::memory_order_acquire) == 0) {
    return std::nullopt;
  }
  const ClaimedReply claimed(*shared);
  if (!claimed) {
    return std::nullopt;
  }
  Reply& reply = *claimed;
  const std::uint32_t sequence = (reply.word.load(std::memory_order_relaxed) >> 2U) + 1;
  // The helper's claim acquires what is released here. The pipe orders the two as well, but the
  // language does not know that.
  reply.word.store(reply_word(sequence, ReplyState::pending), std::memory_order_release);
  bring_helper_here(*shared);
  const Request request{
      .range = &range, .slot = &slot, .step = step, .reply = &reply, .sequence = sequence};
  if (!send(request) || !wait_for(*shared, reply, sequence)) {
    return std::nullopt;
  }
  return reply.error;
}

}  // namespace growstack::handler
