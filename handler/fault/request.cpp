#include "fault/request.hpp"

#include "anywhere/futex.hpp"
#include "anywhere/processors.hpp"
#include "fault/pending_signals.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

/// How long a faulting thread leaves its request to the helper, and then as long again if the
/// helper has claimed it. A helper needs that long only if it gets no processor, because real-time
/// threads have all of them.
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

  /// Leaves the reply taken.
  void leave() noexcept { reply_ = nullptr; }

 private:
  Reply* reply_ = nullptr;
};

/// Returns false if a helper is dead: a seccomp filter can kill one thread alone.
bool is_alive(const ForkWiped& shared, std::uint32_t helper) noexcept {
  return syscall(SYS_tgkill, shared.process.load(std::memory_order_relaxed), helper, 0) == 0 ||
         errno != ESRCH;
}

/// Has later faults look for no helper, unless another one has started meanwhile.
void forget_helper(ForkWiped& shared, std::uint32_t dead) noexcept {
  shared.helper_runs.compare_exchange_strong(dead, 0, std::memory_order_relaxed);
}

/// If the kernel refuses, it goes on to choose the processor.
void let_helper_run_on(ForkWiped& shared, const cpu_set_t& processors) noexcept {
  syscall(SYS_sched_setaffinity, shared.helper_id.load(std::memory_order_relaxed),
          sizeof processors, &processors);
}

/// Has the helper run on the processor of the faulting thread, which is about to wait. Waking the
/// helper there takes 10 us. On another processor it takes 40 to 75 us, because that processor
/// sleeps, and must be woken first. Returns whether the helper is confined to a processor now.
bool bring_helper_here(ForkWiped& shared) noexcept {
  const int processor = sched_getcpu();
  const auto here = static_cast<std::uint32_t>(processor + 1);
  const std::uint32_t now = shared.helper_processor.load(std::memory_order_relaxed);
  if (now == here) {
    return now != 0;
  }
  if (const std::uint32_t left = shared.helper_left_alone.load(std::memory_order_relaxed);
      left != 0) {
    shared.helper_left_alone.store(left - 1, std::memory_order_relaxed);
    return now != 0;
  }
  // The helper stays on the processors that the process was started on, wherever the program puts
  // its own threads.
  if (processor < 0 || !CPU_ISSET(processor, &processors_at_start()) ||
      !is_alive(shared, shared.helper_id.load(std::memory_order_relaxed))) {
    return now != 0;
  }
  shared.helper_processor.store(here, std::memory_order_relaxed);
  cpu_set_t only_here;
  CPU_ZERO(&only_here);
  CPU_SET(processor, &only_here);
  let_helper_run_on(shared, only_here);
  return true;
}

/// Lets the helper run wherever the process was started, because it gave no answer. If it was
/// confined to a processor, real-time threads may keep that one busy. So it may use any other one,
/// which makes the kernel move it, and is left alone for many faults, twice as many each time. If
/// it was not confined, the place was not the cause: somebody stopped the helper, or all processors
/// are busy.
void let_helper_go(ForkWiped& shared, bool was_confined) noexcept {
  constexpr std::uint32_t first_pause = 64;  // faults
  constexpr std::uint32_t most_stalls = 20;
  const std::uint32_t stalls = shared.helper_stalls.load(std::memory_order_relaxed);
  shared.helper_left_alone.store(was_confined ? first_pause << stalls : 0,
                                 std::memory_order_relaxed);
  shared.helper_stalls.store(was_confined ? std::min(stalls + 1, most_stalls) : 0,
                             std::memory_order_relaxed);
  const std::uint32_t was_on = shared.helper_processor.exchange(0, std::memory_order_relaxed);
  cpu_set_t processors = processors_at_start();
  if (was_confined && was_on != 0 && CPU_COUNT(&processors) > 1) {
    CPU_CLR(was_on - 1, &processors);
  }
  let_helper_run_on(shared, processors);
}

/// Waits until the helper has answered, or takes the request back. `helper` is the one to which the
/// request went, as far as is known. Returns how the request ended: done, returned or left.
ReplyState wait_for(ForkWiped& shared, Reply& reply, std::uint32_t sequence, std::uint32_t helper,
                    bool helper_is_confined) noexcept {
  for (;;) {
    std::uint64_t word = reply.word.load(std::memory_order_acquire);
    const ReplyState state = state_of(word);
    if (state == ReplyState::done || state == ReplyState::returned) {
      return state;
    }
    if (!futex_wait(lower_half(reply.word), static_cast<std::uint32_t>(word), reply_patience)) {
      continue;
    }
    const bool is_claimed = state == ReplyState::claimed;
    helper = is_claimed ? helper_of(word) : helper;
    const bool alive = is_alive(shared, helper);
    if (alive) {
      let_helper_go(shared, helper_is_confined);
    } else {
      forget_helper(shared, helper);
    }
    // Unless the helper has gone on meanwhile.
    const ReplyState ending = is_claimed && alive ? ReplyState::left : ReplyState::returned;
    const bool may_be_left = ending == ReplyState::left;
    // Counted before the slot is unpinned, so that nobody who retires it misses the request.
    shared.requests_left.fetch_add(may_be_left ? 1 : 0, std::memory_order_relaxed);
    if (reply.word.compare_exchange_strong(word, reply_word(sequence, ending, helper),
                                           std::memory_order_relaxed)) {
      return ending;
    }
    shared.requests_left.fetch_sub(may_be_left ? 1 : 0, std::memory_order_relaxed);
  }
}

}  // namespace

int send(const Request& request) noexcept {
  const int descriptor = request_pipe.verified();
  if (descriptor < 0) {
    return EBADF;
  }
  const PendingSignals pending;
  // The bare system call, because write(3) would act on a cancellation that the thread has pending.
  if (syscall(SYS_write, descriptor, &request, sizeof request) >= 0) {
    return 0;  // writes of this size are never cut: pipe(7)
  }
  const int error = errno;
  if (error == EPIPE) {
    pending.take_back(SIGPIPE);
  }
  return error;
}

bool commit_by_helper(const Range& range, SlotRecord& slot, Step step) noexcept {
  ForkWiped* const shared = fork_wiped();
  const std::uint32_t helper =
      shared == nullptr ? 0 : shared->helper_runs.load(std::memory_order_acquire);
  if (helper == 0) {
    return false;
  }
  ClaimedReply claimed(*shared);
  if (!claimed) {
    return false;
  }
  Reply& reply = *claimed;
  const std::uint32_t sequence = sequence_of(reply.word.load(std::memory_order_relaxed)) + 1;
  reply.slot.store(&slot, std::memory_order_release);
  // The helper's claim acquires what is released here. The pipe orders the two as well, but the
  // language does not know that.
  reply.word.store(reply_word(sequence, ReplyState::pending), std::memory_order_release);
  const bool is_confined = bring_helper_here(*shared);
  const int error =
      send({.range = &range, .slot = &slot, .step = step, .reply = &reply, .sequence = sequence});
  if (error == EPIPE) {
    forget_helper(*shared, helper);  // it was killed, and its end of the pipe with it
  }
  if (error != 0) {
    return false;
  }
  const ReplyState ending = wait_for(*shared, reply, sequence, helper, is_confined);
  if (ending == ReplyState::left) {
    claimed.leave();
  }
  return ending == ReplyState::done;
}

bool is_left_to_helper(const SlotRecord& slot) noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr || shared->requests_left.load(std::memory_order_acquire) == 0) {
    return false;
  }
  bool is_left = false;
  for (Reply& reply : shared->replies) {
    const std::uint64_t word = reply.word.load(std::memory_order_acquire);
    // Acquired, too: if the reply is about another slot by now, its last request has ended, and
    // what was committed for that one happens before what the caller does with the slot.
    if (state_of(word) != ReplyState::left || reply.slot.load(std::memory_order_acquire) != &slot) {
      continue;
    }
    if (is_alive(*shared, helper_of(word))) {
      is_left = true;
    } else {
      end_left_request(reply, word);
    }
  }
  return is_left;
}

void end_left_request(Reply& reply, std::uint64_t word) noexcept {
  if (reply.word.compare_exchange_strong(word, reply_word(sequence_of(word), ReplyState::returned),
                                         std::memory_order_acq_rel)) {
    reply.taken.store(0, std::memory_order_release);
    fork_wiped()->requests_left.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace growstack::handler
