// A descriptor of ours in the program's table, and whether it still is ours.
//
// Programs close descriptors that they do not know (closefrom(3), before exec and in daemons), and
// then get the same number for a file of theirs. So we remember the file that the number stood for.
#pragma once

#include <sys/types.h>

#include <atomic>

namespace growstack::handler {

/// All zeros is a descriptor that is not set, so that a fork may wipe it. Written under the
/// life-cycle lock; read by anyone, signal handlers included.
class OwnDescriptor {
 public:
  /// Remembers an open descriptor and its file. Returns 0 or the errno of fstat(2), or
  /// of statx(2), which is asked if a filter refuses the other.
  [[nodiscard]] int set(int descriptor) noexcept;

  /// Forgets the descriptor without closing it.
  void forget() noexcept;

  /// Closes the descriptor if it is still ours, and forgets it.
  void close() noexcept;

  /// Returns the number, whatever it stands for by now; -1 if none is set.
  [[nodiscard]] int number() const noexcept {
    return number_plus_one_.load(std::memory_order_acquire) - 1;
  }

  /// Returns the number if it still stands for our file, otherwise -1. One fstat(2), a quarter of a
  /// microsecond. A pipe and, since Linux 5.12, a userfaultfd have an inode of their own.
  [[nodiscard]] int verified() const noexcept;

 private:
  // The number is written last. A thread that reads an old number fails the check.
  std::atomic<int> number_plus_one_{0};
  std::atomic<dev_t> device_{0};
  std::atomic<ino_t> inode_{0};
};

/// Moves an open descriptor above 2 and returns its number, because a program that has closed its
/// standard streams reads and writes them all the same. Bare system calls, signal handlers
/// included. Returns -1 with errno, and has closed the descriptor, if there is no number left.
[[nodiscard]] int above_standard_streams(int descriptor) noexcept;

/// Closes a descriptor of ours by a bare system call, because close(2) of libc acts on a pending
/// cancellation. Keeps errno. Signal handlers included.
void close_quietly(int descriptor) noexcept;

}  // namespace growstack::handler
