// The process-wide fault handler: install it, attach threads to it, ask what it saw.
//
// The first stack of growstack::growstack installs the handler. Call install() yourself only if you
// use the handler alone, with ranges of your own (ranges.hpp).
#pragma once

#include <growstack/export.hpp>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace growstack::handler {

/// Installs the fault handler for SIGSEGV or SIGBUS (SA_SIGINFO | SA_ONSTACK, full sa_mask), and
/// starts the symbolizer thread, unless set_symbolizer() (report.hpp) says otherwise or the thread
/// cannot be had. Only ranges with Growth::by_bus_error need SIGBUS, and they need both
/// signals. Idempotent. Any thread, not from a signal handler. Returns 0 or an errno: EINVAL for
/// another signal, or one of mmap(2), sigaction(2).
///
/// A handler that was installed earlier is kept and gets every fault that is not ours, by its own
/// flags and mask.
///
/// Call it again to look whether ours is still in force. If somebody has set another action since
/// then, ours is installed over that one, which is kept in the same way. It may have kept ours and
/// call it: then the fault goes to what ours had been installed over first. (Eight different
/// actions are told apart.) If the handler in force is that of a copy of this library which
/// forwards to ours, nothing changes.
[[nodiscard]] GROWSTACK_EXPORT int install(int signal = SIGSEGV) noexcept;

/// Starts the helper thread and its pipe unless they run, for ranges with Committer::helper. If
/// there is no helper, the thread that faulted commits by itself. After install(); any thread, not
/// from a signal handler. Returns 0 or an errno: ENXIO before install(), or one of pipe2(2),
/// fcntl(2), fstat(2), pthread_create(3), close_range(2) (Linux 5.9). The helper must have a
/// descriptor table of its own, so it cannot do without the last one.
[[nodiscard]] GROWSTACK_EXPORT int start_helper() noexcept;

/// Puts the previous handlers back, ends the threads, closes the pipe. Any thread, not from a
/// signal handler. Returns 0, EBUSY while ranges are registered, EPERM if somebody else's handler
/// was installed over ours, or the errno of sigaction(2). Unless that is 0, the handler stays. If
/// somebody else's calls ours, ours goes on forwarding to the one before it.
[[nodiscard]] GROWSTACK_EXPORT int uninstall() noexcept;

/// Returns true while the handler in force for the signal is ours. Any thread.
[[nodiscard]] GROWSTACK_EXPORT bool installed(int signal = SIGSEGV) noexcept;

/// Gives the calling thread an alternate signal stack unless it has one that is large enough. The
/// previous one is put back when the thread ends, in the third round of the destructors of its
/// pthread keys. Every thread that runs on a growable stack must be attached: without an alternate
/// stack the kernel finds no place for the handler's frame and kills the process. Also unblocks
/// SIGSEGV in this thread (and SIGBUS once that is installed), because a fault whose signal is
/// blocked kills as well. Idempotent, and it does all this anew if others have undone it. While
/// is_kept() is true nobody can, and the program goes on seeing the mask and the alternate stack
/// that it has set. Not from a signal handler. Returns 0, EPERM on the alternate stack itself, or
/// an errno of mmap(2), sigaltstack(2), pthread_key_create(3).
[[nodiscard]] GROWSTACK_EXPORT int attach_thread() noexcept;

/// Returns true if the calling thread is attached and everything else is kept (is_kept()), so that
/// neither attach_thread() nor install() has anything to look at: nobody can have undone it since
/// that was seen. Costs a comparison. Any thread.
[[nodiscard]] GROWSTACK_EXPORT bool stays_attached() noexcept;

/// Holds memory for the alternate signal stack of a thread that is still to be started. The
/// creating thread calls reserve(), so it gets the error, not the new thread. Owns the memory until
/// a thread takes it.
class GROWSTACK_EXPORT AlternateStackMemory {
 public:
  /// Owns no memory yet.
  AlternateStackMemory() noexcept = default;
  /// Gives the memory up if no thread took it.
  ~AlternateStackMemory();
  /// Takes the memory over.
  AlternateStackMemory(AlternateStackMemory&& other) noexcept
      : begin_(std::exchange(other.begin_, nullptr)), size_(other.size_) {}
  AlternateStackMemory& operator=(AlternateStackMemory&&) = delete;
  AlternateStackMemory(const AlternateStackMemory&) = delete;
  AlternateStackMemory& operator=(const AlternateStackMemory&) = delete;

  /// Takes what a thread that ended has left, or allocates alternate_stack_size() bytes above a
  /// guard page, unless that is done. Any thread. Returns 0 or an errno of mmap(2), mprotect(2).
  [[nodiscard]] int reserve() noexcept;

 private:
  friend class AlternateStack;
  std::byte* begin_ = nullptr;  ///< of the guard page
  std::size_t size_ = 0;        ///< with the guard page
};

/// Attaches the calling thread as attach_thread() does, with memory that is there already. The
/// thread takes the memory if it needs any. Then nothing is left that could fail in a thread of
/// fewer than 32 pthread keys. For the first instructions of a new thread. Returns 0 or an errno as
/// attach_thread() does.
[[nodiscard]] GROWSTACK_EXPORT int attach_thread(AlternateStackMemory& memory) noexcept;

/// Returns true while the calling thread starts one of this library's own threads. Those run with
/// every signal blocked and must not be attached. For a program that replaces pthread_create(3).
/// Any thread.
[[nodiscard]] GROWSTACK_EXPORT bool starts_service_thread() noexcept;

/// Sets how many bytes attach_thread() reserves for each alternate stack from now on, without its
/// guard page (default 64 KiB; only touched pages cost memory), and gives those back that are kept.
/// Any thread. Returns 0, or EINVAL below least_alternate_stack_size().
[[nodiscard]] GROWSTACK_EXPORT int set_alternate_stack_size(std::size_t bytes) noexcept;

/// Returns how many bytes attach_thread() reserves for each alternate stack, without its guard
/// page. Any thread.
[[nodiscard]] GROWSTACK_EXPORT std::size_t alternate_stack_size() noexcept;

/// Returns the size in bytes of the smallest alternate stack with which attach_thread() leaves a
/// thread: the kernel's frame and room for the handler and a report. Any thread.
[[nodiscard]] GROWSTACK_EXPORT std::size_t least_alternate_stack_size() noexcept;

/// Counts what happened in this process since it started. Each number is a statistic, exact if
/// nothing faults meanwhile.
struct Counters {
  /// Growth faults. Each one counts before the stack grows, so it counts also if the growth then
  /// fails. The growth for a lost signal frame does not count here.
  std::uint64_t growth = 0;
  std::uint64_t remote_growth = 0;  ///< growth faults by a thread that ran elsewhere
  /// Faults on memory that another thread had just committed, or that somebody had given back to
  /// the kernel (userfault_signal).
  std::uint64_t spurious = 0;
  /// Signals that the kernel dropped because a stack had no room for their frame.
  std::uint64_t lost_signal_frame = 0;
  std::uint64_t foreign = 0;   ///< faults forwarded
  std::uint64_t overflow = 0;  ///< faults at the end of a stack
  /// Growths that the helper thread committed.
  std::uint64_t by_helper = 0;
  /// Growths meant for the helper but left to the faulting thread: after a fork, with the pipe
  /// closed or full, or when the helper gave no answer in time or was refused the memory.
  std::uint64_t helper_missing = 0;
};

/// Returns what happened in this process since it started. Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT Counters counters() noexcept;

}  // namespace growstack::handler
