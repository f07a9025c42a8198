#include "fault/request.hpp"

#include "anywhere/futex.hpp"
#include "fault/pending_signals.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

/// How long a faulting thread leaves its request to the helper. Only a helper that gets no
/// processor (real-time threads on every one of them) takes so long.
constexpr auto reply_patience = 100ms;

/// The write end, and what it was when we opened it. Programs close descriptors they do not know
/// (closefrom(3) before exec and in daemons) and get the same number again for a file of theirs.
/// Written under the life-cycle lock, `descriptor` last; read by faulting threads: a stale
/// descriptor fails the check.
struct WriteEnd {
  std::atomic<int> descriptor{-1};
  std::atomic<dev_t> device{0};
  std::atomic<ino_t> inode{0};
} write_end;

/// The descriptor, if it is still our pipe; otherwise -1. One fstat(2), a quarter of a microsecond.
int verified_write_end() noexcept {
  const int descriptor = write_end.descriptor.load(std::memory_order_acquire);
  struct stat found {};
  const bool ours = descriptor >= 0 && fstat(descriptor, &found) == 0 && S_ISFIFO(found.st_mode) &&
                    found.st_dev == write_end.device.load(std::memory_order_relaxed) &&
                    found.st_ino == write_end.inode.load(std::memory_order_relaxed);
  return ours ? descriptor : -1;
}

/// The write end does not block: a full pipe (over a thousand threads faulting at once) is a helper
/// that does not keep up.
bool send(const Request& request) noexcept {
  const int descriptor = verified_write_end();
  if (descriptor < 0) {
    return false;
  }
  // The bare system call: write(3) would act on a cancellation that the thread has pending.
  const bool sent =
      syscall(SYS_write, descriptor, &request, sizeof request) == static_cast<long>(sizeof request);
  if (!sent && errno == EPIPE) {
    take_back(SIGPIPE);  // the helper was killed, and its end of the pipe with it
  }
  return sent;
}

/// A reply word for the time of one fault. Threads start their search at different words (each runs
/// on an alternate stack of its own), so in practice each finds its last one again, in its own
/// cache.
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

/// A thread can be killed alone: by a seccomp filter.
bool is_alive(std::uint32_t thread) noexcept {
  return syscall(SYS_tgkill, getpid(), thread, 0) == 0 || errno != ESRCH;
}

void let_helper_run_on(ForkWiped& shared, const cpu_set_t& processors) noexcept {
  syscall(SYS_sched_setaffinity, shared.helper_id.load(std::memory_order_relaxed),
          sizeof processors, &processors);
}

/// A wake-up on another processor takes 40 to 75 us: that one sleeps, and has to be woken itself.
/// On this one, which the faulting thread is about to leave to the helper, it takes 10. Where that
/// is refused, the kernel chooses as it does.
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

/// Real-time threads keep it from running there: once is enough.
void let_helper_go(ForkWiped& shared) noexcept {
  shared.helper_processor.store(ForkWiped::any_processor, std::memory_order_relaxed);
  cpu_set_t any;
  std::memset(&any, 0xFF, sizeof any);  // the kernel takes those that there are
  let_helper_run_on(shared, any);
}

/// True when the helper is done, false when the request could be withdrawn or the helper is dead.
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
  // Released here, acquired by the helper's claim: the pipe orders the two, but not in the
  // language's eyes.
  reply.word.store(reply_word(sequence, ReplyState::pending), std::memory_order_release);
  bring_helper_here(*shared);
  const Request request{
      .range = &range, .slot = &slot, .step = step, .reply = &reply, .sequence = sequence};
  if (!send(request) || !wait_for(*shared, reply, sequence)) {
    return std::nullopt;
  }
  return reply.error;
}

int open_request_pipe(int& read_end) noexcept {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return errno;
  }
  struct stat found {};
  if (fstat(ends[1], &found) != 0 || fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0) {
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    return error;
  }
  read_end = ends[0];
  write_end.device.store(found.st_dev, std::memory_order_relaxed);
  write_end.inode.store(found.st_ino, std::memory_order_relaxed);
  write_end.descriptor.store(ends[1], std::memory_order_release);
  return 0;
}

bool helper_is_reachable() noexcept {
  return fork_wiped()->helper_runs.load(std::memory_order_acquire) != 0 &&
         verified_write_end() >= 0;
}

bool ask_helper_to_end() noexcept { return send(Request{}); }

void close_request_pipe() noexcept {
  if (const int descriptor = verified_write_end(); descriptor >= 0) {
    close(descriptor);
  }
  write_end.descriptor.store(-1, std::memory_order_release);
}

}  // namespace growstack::handler
