// Threads whose own stack grows.
//
//     growstack::Thread worker({.reserve = 1ULL << 30, .name = "parser"}, [] { parse(); });
//
// Such a stack is the thread's only one, in contrast to call(). So pthread_exit(3), cancellation,
// destructors of thread_local objects and pthread_getattr_np(3) work as in any other thread.
#pragma once

#include <growstack/export.hpp>
#include <growstack/stack.hpp>

#include <pthread.h>

#include <bit>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <stop_token>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>

namespace growstack {

namespace detail {

/// What a thread runs. It is destroyed in that thread, before the thread_local objects.
class ThreadBody {
 public:
  ThreadBody() = default;
  virtual ~ThreadBody() = default;
  ThreadBody(const ThreadBody&) = delete;
  ThreadBody& operator=(const ThreadBody&) = delete;
  virtual void run() = 0;
};

template <class F, class... Args>
class ThreadCall final : public ThreadBody {
 public:
  template <class G, class... Given>
  explicit ThreadCall(std::stop_token token, G&& f, Given&&... args)
      : token_(std::move(token)), f_(std::forward<G>(f)), args_(std::forward<Given>(args)...) {}

  void run() override {
    std::apply(
        [this](Args&... args) {
          if constexpr (std::is_invocable_v<F, std::stop_token, Args...>) {
            std::invoke(std::move(f_), std::move(token_), std::move(args)...);
          } else {
            std::invoke(std::move(f_), std::move(args)...);
          }
        },
        args_);
  }

 private:
  std::stop_token token_;
  F f_;
  std::tuple<Args...> args_;
};

/// The state of a thread, which outlives the thread.
struct ThreadState {
  ThreadState(Stack&& on, std::unique_ptr<ThreadBody> runs) noexcept
      : stack(std::move(on)), body(std::move(runs)) {}

  Stack stack;
  std::unique_ptr<ThreadBody> body;
  pthread_t handle{};
  // The library's list of all threads:
  ThreadState* next = nullptr;
  ThreadState** link = nullptr;  ///< what points to this state
  bool gone = false;             ///< the process is a forked child, which does not have the thread
};

// These throw std::system_error, except end_thread(), which joins without being a cancellation
// point. The last three leave the state null.
GROWSTACK_EXPORT void start_thread(ThreadState& state);
GROWSTACK_EXPORT void join_thread(std::unique_ptr<ThreadState>& state);
GROWSTACK_EXPORT void end_thread(std::unique_ptr<ThreadState>& state) noexcept;
GROWSTACK_EXPORT void detach_thread(std::unique_ptr<ThreadState>& state);

}  // namespace detail

/// Runs a callable in a new thread on a growable stack, otherwise like std::jthread. The callable
/// may take a std::stop_token first. What the callable forbids (mprotect(2)) in the lowest 1 MiB of
/// the stack, at most a quarter of it, stays forbidden, and a touch there goes to its own handler:
/// pthread_getattr_np(3) tells runtimes where that is. The destructor asks the thread to stop, and
/// joins it. An exception that leaves the callable ends in std::terminate(). If the stack was given
/// a name, its first 15 bytes become the thread's name.
///
/// As with std::jthread, one thread at a time may use an object, except that requests to stop may
/// come from any thread. Not from signal handlers.
///
/// A child of fork(2) has only the thread that called fork(2). There, to join, detach or destroy
/// the object of another thread waits for nothing and releases the child's copy of the stack.
class Thread {
 public:
  using id = std::thread::id;            ///< the same type as std::jthread's
  using native_handle_type = pthread_t;  ///< for the functions of pthreads(7)

  /// Makes an object without a thread.
  Thread() noexcept : stop_(std::nostopstate) {}

  /// Starts a thread that calls f(args...), or f(token, args...) if that is possible, with copies
  /// of the arguments, as std::jthread does. The stack has the default options, and is kept for the
  /// next thread or call() when this one has been joined, as call() describes. It commits the
  /// initial commit of its policy, but at least least_thread_stack(): what the C library puts at
  /// the base, and the first frames. Throws std::system_error: EAGAIN if there can be no more
  /// threads, EINVAL if an option is out of range or `reserve` is too small for what the C library
  /// takes, ENOMEM, and what Stack's constructor throws.
  template <class F, class... Args>
  requires(!std::same_as<std::remove_cvref_t<F>, Thread> &&
           !std::same_as<std::remove_cvref_t<F>, StackOptions> &&
           !std::same_as<std::remove_cvref_t<F>, Stack>) explicit Thread(F&& f, Args&&... args)
      : Thread(StackOptions{}, std::forward<F>(f), std::forward<Args>(args)...) {}
  /// Starts a thread on a stack of these options; otherwise as the constructor without options
  /// does.
  template <class F, class... Args>
  explicit Thread(const StackOptions& options, F&& f, Args&&... args)
      : Thread(detail::kept_stack(options), std::forward<F>(f), std::forward<Args>(args)...) {}
  /// Starts a thread on a stack that exists already, for instance one of a StackPool; otherwise as
  /// the constructor without options does. join() ends the stack.
  template <class F, class... Args>
  explicit Thread(Stack&& stack, F&& f, Args&&... args) {
    using Call = detail::ThreadCall<std::decay_t<F>, std::decay_t<Args>...>;
    static_assert(std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...> ||
                      std::is_invocable_v<std::decay_t<F>, std::stop_token, std::decay_t<Args>...>,
                  "the callable cannot be called with these arguments, with or without a "
                  "std::stop_token before them");
    auto body =
        std::make_unique<Call>(stop_.get_token(), std::forward<F>(f), std::forward<Args>(args)...);
    auto state = std::make_unique<detail::ThreadState>(std::move(stack), std::move(body));
    detail::start_thread(*state);
    state_ = std::move(state);
  }

  // Members that call the library are local: a plugin that contains a growstack of its own must
  // call that one.

  /// Calls request_stop() and join() if the thread is joinable.
  GROWSTACK_LOCAL ~Thread() { end(); }
  /// Takes the thread over. `other` has no thread afterwards.
  Thread(Thread&& other) noexcept
      : state_(std::move(other.state_)),
        stop_(std::exchange(other.stop_, std::stop_source(std::nostopstate))) {}
  /// Ends the thread that this object had, as the destructor does, and takes the other one over.
  GROWSTACK_LOCAL Thread& operator=(Thread&& other) noexcept {
    Thread(std::move(other)).swap(*this);
    return *this;
  }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  /// Exchanges the threads of two objects.
  void swap(Thread& other) noexcept {
    std::swap(state_, other.state_);
    stop_.swap(other.stop_);
  }
  /// Exchanges the threads of two objects.
  friend void swap(Thread& one, Thread& other) noexcept { one.swap(other); }

  /// Returns whether there is a thread to join.
  [[nodiscard]] bool joinable() const noexcept { return state_ != nullptr; }
  /// Waits until the thread has ended, then ends its stack: one that was made from options is kept
  /// as call() describes, one of a pool goes back to the pool, any other one is released. A
  /// cancellation point, as pthread_join(3) is; the destructor and the assignment are none.
  /// Throws std::system_error: EINVAL if the object is not joinable, EDEADLK if the thread itself
  /// calls.
  GROWSTACK_LOCAL void join() { detail::join_thread(state_); }
  /// Lets the thread go on by itself. Its stack ends, as by join(), some time after the thread:
  /// when another Thread is made, joined or detached. Throws std::system_error: EINVAL if the
  /// object is not joinable.
  GROWSTACK_LOCAL void detach() { detail::detach_thread(state_); }

  /// Returns the same id as std::this_thread::get_id() does in the thread.
  [[nodiscard]] id get_id() const noexcept { return std::bit_cast<id>(native_handle()); }
  /// Returns the thread's handle, or 0 if the object is not joinable.
  [[nodiscard]] native_handle_type native_handle() const noexcept {
    return joinable() ? state_->handle : pthread_t{};
  }
  /// Returns std::thread::hardware_concurrency().
  [[nodiscard]] static unsigned hardware_concurrency() noexcept {
    return std::thread::hardware_concurrency();
  }

  /// Returns the source of stop requests for this thread.
  [[nodiscard]] std::stop_source get_stop_source() const noexcept { return stop_; }
  /// Returns the token through which the thread receives a stop request.
  [[nodiscard]] std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }
  /// Asks the thread to stop. Returns false if that was asked before. Any thread.
  bool request_stop() noexcept { return stop_.request_stop(); }

  /// Returns the thread's stack, which tells how deep it is now and how deep it ever was
  /// (high_water_mark()). The object must be joinable.
  [[nodiscard]] const Stack& stack() const noexcept { return state_->stack; }

 private:
  GROWSTACK_LOCAL void end() noexcept {
    if (joinable()) {
      request_stop();
      detail::end_thread(state_);
    }
  }

  std::unique_ptr<detail::ThreadState> state_;  ///< null: not joinable
  std::stop_source stop_;
};

/// Starts a thread on a growable stack as pthread_create(3) does, for code that has a
/// pthread_attr_t or needs the thread's result. `attributes` may be null; their stack address,
/// stack size and guard size do not count. Commits what the C library takes for the thread's
/// descriptor and its thread-local storage, and attaches the thread before it calls
/// start(argument).
///
/// The stack must exist, and nobody else may use or trim it, until the thread has been joined. A
/// child of fork(2) does not have the thread and may release the stack; do not join the thread
/// there, because pthread_join(3) waits for ever for a thread whose stack the program supplied. Any
/// thread; not from a signal handler. Returns 0 or an errno, as pthread_create(3) does: EINVAL if
/// the stack is smaller than least_thread_stack(), or if the attributes ask for a detached thread,
/// because nobody could tell when its stack may end; EAGAIN, EPERM, ENOMEM.
[[nodiscard]] GROWSTACK_EXPORT int create_thread(pthread_t* thread, const Stack& stack,
                                                 const pthread_attr_t* attributes,
                                                 void* (*start)(void*), void* argument) noexcept;

/// Returns how many bytes of a thread's stack the C library takes or requires: for the descriptor,
/// for all static thread-local storage, and for the first frames. create_thread() commits that
/// much. Any thread; not from a signal handler.
[[nodiscard]] GROWSTACK_EXPORT std::size_t least_thread_stack() noexcept;

}  // namespace growstack
