// The stack of a service thread. It is ours, because the C library's would be resident as a whole
// in a program that called mlockall(2) with MCL_FUTURE: megabytes for a thread that needs a page.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace growstack::handler {

/// All functions: under the life-cycle lock.
class ServiceStack {
 public:
  constexpr ServiceStack() noexcept = default;

  /// Maps a stack of `bytes`, whole pages, besides its guard. Returns 0 or an errno of mmap(2).
  ///
  /// In a forked child, the stack of the parent's thread stays where it is. The C library remembers
  /// threads by what lies on their stacks, and the child of a bare clone(2) knows no better.
  [[nodiscard]] int map(std::size_t bytes) noexcept;

  /// Returns the lowest address that the thread may use.
  [[nodiscard]] void* begin() const noexcept;

  /// Gives the memory back. No thread uses it: it has been joined, or was not created.
  void unmap() const noexcept;

  /// Notes on the stack that begins here that its thread has done all its work, as the last thing
  /// that the thread does.
  static void note_return(void* begin) noexcept;

  /// Leaves the memory to a detached thread, until the kernel does not know its id any more. 0, the
  /// id of a thread that has not begun yet, leaves it for ever. So does a thread that never
  /// returns, because somebody else ends it: the C library goes on to count it among its threads.
  void leave_to(pid_t thread) const noexcept;

  /// Gives back the memory of those threads that have ended meanwhile.
  static void take_back_left() noexcept;

 private:
  std::byte* memory_ = nullptr;  ///< begins with the guard
  std::size_t bytes_ = 0;        ///< with the guard
};

}  // namespace growstack::handler
