// The process-wide fault handler: install it, attach threads to it, ask what it saw.
//
// Installing is the first use of anything that grows by fault; the library does it for you.
// Everything here can also be used alone, with ranges of your own (ranges.hpp).
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <utility>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack::handler {

/// Installs the fault handler for SIGSEGV or SIGBUS (SA_SIGINFO | SA_ONSTACK, full sa_mask), and
/// starts the parked reporter thread. SIGBUS is needed for ranges with Growth::by_bus_error only,
/// and then both are. Idempotent. Any thread, not from a signal handler. Returns 0 or an errno:
/// EINVAL for another signal, or one of mmap(2), sigaction(2), pthread_create(3).
///
/// A handler installed earlier is kept and gets every fault that is not ours, by its own flags and
/// mask. One that you install later must do the same for ours.
///
/// If since then somebody has set the default action or SIG_IGN, ours is installed anew; another
/// handler stays.
[[nodiscard]] int install(int signal = SIGSEGV) noexcept;

/// Starts the helper thread and its pipe unless they run. Needed before a range with
/// Committer::helper. Any thread, not from a signal handler. Returns 0 or an errno: of pipe2(2),
/// pthread_create(3), close_range(2) (Linux 5.9).
[[nodiscard]] int start_helper() noexcept;

/// Puts the previous handlers back, ends the threads, closes the pipe. Any thread, not from a
/// signal handler. Returns 0, EBUSY while ranges are registered, or EPERM if somebody else's
/// handler was installed over ours: then that one stays, and ours goes on forwarding to the one
/// before it.
[[nodiscard]] int uninstall() noexcept;

/// True while the handler in force for the signal is ours. Any thread.
[[nodiscard]] bool installed(int signal = SIGSEGV) noexcept;

/// Gives the calling thread an alternate signal stack unless it has one that is large enough; the
/// previous one is put back when the thread ends, in the third round of the destructors of its
/// pthread keys. Every thread that runs on a growable stack must be attached: without it the kernel
/// finds no place for the handler's frame and kills the process. Unblocks SIGSEGV in this thread
/// (and SIGBUS once that is installed), for a fault while it is blocked kills, too. Idempotent. Not
/// from a signal handler. Returns 0, EPERM on the alternate stack itself, or an errno of mmap(2),
/// sigaltstack(2), pthread_key_create(3).
[[nodiscard]] int attach_thread() noexcept;

/// Memory for the alternate signal stack of a thread that is still to be started, so that what
/// cannot be had is an error of the thread that asks for it. Owns it until a thread takes it.
class AlternateStackMemory {
 public:
  /// None yet.
  AlternateStackMemory() noexcept = default;
  /// Releases what no thread took.
  ~AlternateStackMemory();
  /// Takes the memory over.
  AlternateStackMemory(AlternateStackMemory&& other) noexcept
      : begin_(std::exchange(other.begin_, nullptr)), size_(other.size_) {}
  AlternateStackMemory& operator=(AlternateStackMemory&&) = delete;
  AlternateStackMemory(const AlternateStackMemory&) = delete;
  AlternateStackMemory& operator=(const AlternateStackMemory&) = delete;

  /// alternate_stack_size() bytes above a guard page, unless it has them. Any thread. Returns 0 or
  /// an errno of mmap(2), mprotect(2).
  [[nodiscard]] int reserve() noexcept;

 private:
  friend class AlternateStack;
  std::byte* begin_ = nullptr;  ///< of the guard page
  std::size_t size_ = 0;        ///< with the guard page
};

/// The same with memory that is there already, which the thread takes if it needs any: nothing is
/// left then that could fail in a thread of fewer than 32 pthread keys. For the first instructions
/// of a new thread.
[[nodiscard]] int attach_thread(AlternateStackMemory& memory) noexcept;

/// True while the calling thread starts one of this library's own threads: those run with every
/// signal blocked, and are not to be attached. For who replaces pthread_create(3). Any thread.
[[nodiscard]] bool starts_service_thread() noexcept;

/// Bytes reserved for each alternate stack that attach_thread() makes from now on (default 64 KiB,
/// its guard page apart; only touched pages cost memory). Returns 0, or EINVAL below
/// least_alternate_stack_size(). Any thread.
[[nodiscard]] int set_alternate_stack_size(std::size_t bytes) noexcept;
/// The size in force.
[[nodiscard]] std::size_t alternate_stack_size() noexcept;

/// The smallest alternate stack with which a thread may stay: the kernel's frame and room for the
/// handler and a report.
[[nodiscard]] std::size_t least_alternate_stack_size() noexcept;

/// What happened in this process since it started. Each is a statistic: exact when nothing faults
/// meanwhile.
struct Counters {
  std::uint64_t growth = 0;         ///< faults that grew a stack
  std::uint64_t remote_growth = 0;  ///< of these, by a thread that ran elsewhere
  std::uint64_t spurious = 0;  ///< faults on memory that another thread had just committed, or that
                               ///< somebody had given back to the kernel (userfault_signal)
  std::uint64_t lost_signal_frame =
      0;  ///< signals that the kernel dropped because a stack had no room for their frame
  std::uint64_t foreign = 0;    ///< faults forwarded
  std::uint64_t overflow = 0;   ///< faults at the end of a stack
  std::uint64_t by_helper = 0;  ///< growths committed by the helper thread
  std::uint64_t helper_missing =
      0;  ///< growths meant for the helper but committed by the faulting thread: after a
          ///< fork, with the pipe closed or full, or when the helper gave no answer in time
};
/// Any thread, signal handlers included.
[[nodiscard]] Counters counters() noexcept;

}  // namespace growstack::handler

#pragma GCC visibility pop
