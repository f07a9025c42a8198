// A thread of the handler library: the one way to start it and to end it.
//
// All of them block every signal and have an ordinary stack (service_stack.hpp). They have the
// default scheduling policy and the processors that the process was started on, whatever thread
// happened to start them, unless that is forbidden. (They inherit its nice value.) Faulting threads
// move the helper about afterwards: see fault/request.cpp.
//
// A thread that reads a descriptor has a descriptor table of its own with nothing else in it. So a
// program that closes descriptors that it does not know cannot take the descriptor away, and the
// thread keeps none of the program's files open. The record locks of the program are safe, because
// they belong to its own table.
#pragma once

#include "anywhere/fork_wiped.hpp"
#include "threads/service_stack.hpp"

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace growstack::handler {

/// One object for each thread, with static storage. All public functions: under the life-cycle
/// lock.
class ServiceThread {
 public:
  static constexpr int no_descriptor = -1;

  ServiceThread(const ServiceThread&) = delete;
  ServiceThread& operator=(const ServiceThread&) = delete;

  /// Starts the thread unless it is started. It takes over a copy of `descriptor`; the caller keeps
  /// its own. If there is one, returns when the thread has it. Returns 0 or the errno of
  /// pthread_create(3), close_range(2) (Linux 5.9), or prepare().
  [[nodiscard]] int start(int descriptor = no_descriptor) noexcept;

  /// Returns true if the thread was started in this process and neither ended nor abandoned.
  /// Returns false in a forked child.
  [[nodiscard]] bool is_started() const noexcept;

  /// Asks the thread to end and waits until it has. Abandons it if it cannot be asked, or does not
  /// end within ten seconds: a symbolizer may write to a pipe that nobody empties.
  void end() noexcept;

  /// Leaves a thread that cannot be asked to end to itself. Another one may be started.
  void abandon() noexcept;

 protected:
  /// `name` has at most 15 bytes. `joinable` says in which word a started thread is remembered.
  constexpr ServiceThread(const char* name,
                          std::atomic<std::uint32_t> ForkWiped::*joinable) noexcept
      : name_(name), joinable_(joinable) {}
  ~ServiceThread() = default;

 private:
  /// Runs before the thread is created. Returns 0 or an errno.
  virtual int prepare(int /*descriptor*/) noexcept { return 0; }
  /// Runs in the thread before start() returns.
  virtual void settle() noexcept {}
  /// Runs in the thread until it has been asked to end, or has nobody left to work for.
  virtual void run(int descriptor) noexcept = 0;
  /// Returns false if the thread cannot be asked.
  virtual bool ask_to_end() noexcept = 0;

  static void* body(void* self) noexcept;
  [[nodiscard]] int create() noexcept;
  [[nodiscard]] int create_on_stack_of(std::size_t bytes, pthread_attr_t& attributes) noexcept;
  [[nodiscard]] int wait_for_result() noexcept;
  [[nodiscard]] bool claim() noexcept;
  void leave() noexcept;

  const char* name_;
  std::atomic<std::uint32_t> ForkWiped::*joinable_;
  pthread_t thread_{};
  ServiceStack stack_;
  /// The kernel's id of the thread; 0 until it begins. Written by the thread; read by who leaves it
  /// to itself. A stale 0 costs a stack.
  std::atomic<pid_t> id_{0};
  // The handshake between start() and the new thread: the descriptor goes in, 0 or an errno comes
  // out. It has static storage, because the new thread may still be about to wake us when we have
  // seen its answer.
  int descriptor_ = no_descriptor;
  static constexpr std::uint32_t pending = UINT32_MAX;
  std::atomic<std::uint32_t> result_{pending};  ///< a futex
};

}  // namespace growstack::handler
