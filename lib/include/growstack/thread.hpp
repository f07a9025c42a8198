// Threads whose own stack grows.
//
//     growstack::Thread worker({.reserve = 1ULL << 30, .name = "parser"}, [] { parse(); });
//
// Unlike what call() runs, this is the thread's only stack: pthread_exit(3), cancellation,
// thread_local destructors and pthread_getattr_np(3) work as on any other.
#pragma once

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

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

namespace detail {

/// What a thread runs; destroyed on that thread, before its thread_local objects.
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

/// Outlives the thread.
struct ThreadState {
  ThreadState(Stack&& on, std::unique_ptr<ThreadBody> runs) noexcept
      : stack(std::move(on)), body(std::move(runs)) {}

  Stack stack;
  std::unique_ptr<ThreadBody> body;
  pthread_t handle{};
  ThreadState* next = nullptr;  ///< among those that were detached
  bool gone = false;            ///< this is a child that was forked without it
};

// All throw std::system_error. The state is empty after the last two.
void start_thread(ThreadState& state);
void join_thread(std::unique_ptr<ThreadState>& state);
void detach_thread(std::unique_ptr<ThreadState>& state);

}  // namespace detail

/// As std::jthread, on a growable stack: what is called may take a std::stop_token first, and the
/// destructor asks it to stop and joins. An exception that leaves it ends in std::terminate(). The
/// first 15 bytes of the stack's name, if it was given one, become the thread's.
///
/// As with std::jthread, one object is used by one thread at a time, but for what the stop source
/// synchronises.
class Thread {
 public:
  using id = std::thread::id;            ///< as std::jthread has it
  using native_handle_type = pthread_t;  ///< for the functions of pthreads(7)

  /// No thread.
  Thread() noexcept : stop_(std::nostopstate) {}

  /// Calls f(args...), or f(token, args...) if it can be called so, with copies of what is given
  /// here, as std::jthread does. Committed from the start is the policy's initial commit, but at
  /// least least_thread_stack(): what the C library puts at the base, and the first frames. Throws
  /// std::system_error: EAGAIN (no more threads), EINVAL (an option out of range, or `reserve` too
  /// small for what the C library takes), ENOMEM, and what Stack's constructor throws.
  template <class F, class... Args>
  requires(!std::same_as<std::remove_cvref_t<F>, Thread> &&
           !std::same_as<std::remove_cvref_t<F>, StackOptions> &&
           !std::same_as<std::remove_cvref_t<F>, Stack>) explicit Thread(F&& f, Args&&... args)
      : Thread(StackOptions{}, std::forward<F>(f), std::forward<Args>(args)...) {}
  /// The same on a stack of these options.
  template <class F, class... Args>
  explicit Thread(const StackOptions& options, F&& f, Args&&... args)
      : Thread(Stack(options), std::forward<F>(f), std::forward<Args>(args)...) {}
  /// On a stack that is there already, for instance one of a StackPool; it is given back by join().
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

  // Hidden: see Stack's destructor.
  /// If joinable: request_stop() and join().
  [[gnu::visibility("hidden")]] ~Thread() { end(); }
  /// Takes the thread over; the other has none then.
  Thread(Thread&& other) noexcept
      : state_(std::move(other.state_)),
        stop_(std::exchange(other.stop_, std::stop_source(std::nostopstate))) {}
  /// Ends what this object had, as the destructor does.
  [[gnu::visibility("hidden")]] Thread& operator=(Thread&& other) noexcept {
    Thread(std::move(other)).swap(*this);
    return *this;
  }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  /// Each gets the other's thread.
  void swap(Thread& other) noexcept {
    std::swap(state_, other.state_);
    stop_.swap(other.stop_);
  }
  /// The same.
  friend void swap(Thread& one, Thread& other) noexcept { one.swap(other); }

  /// Whether there is a thread to join.
  [[nodiscard]] bool joinable() const noexcept { return state_ != nullptr; }
  /// Waits until the thread has ended, then releases its stack, or gives it back to its pool.
  /// Throws std::system_error: EINVAL (not joinable), EDEADLK (by the thread itself).
  [[gnu::visibility("hidden")]] void join() { detail::join_thread(state_); }
  /// Lets the thread go on by itself. Its stack is released some time after it has ended: when
  /// another Thread is made, joined or detached. Throws std::system_error: EINVAL (not joinable).
  [[gnu::visibility("hidden")]] void detach() { detail::detach_thread(state_); }

  /// As the thread's own std::this_thread::get_id().
  [[nodiscard]] id get_id() const noexcept { return std::bit_cast<id>(native_handle()); }
  /// 0 if not joinable.
  [[nodiscard]] native_handle_type native_handle() const noexcept {
    return joinable() ? state_->handle : pthread_t{};
  }
  /// As std::thread has it.
  [[nodiscard]] static unsigned hardware_concurrency() noexcept {
    return std::thread::hardware_concurrency();
  }

  /// What stops it.
  [[nodiscard]] std::stop_source get_stop_source() const noexcept { return stop_; }
  /// By which it is told.
  [[nodiscard]] std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }
  /// Asks it to stop; false if that was asked before.
  bool request_stop() noexcept { return stop_.request_stop(); }

  /// Of a joinable one: how deep it is, and was (high_water_mark), for whoever asks.
  [[nodiscard]] const Stack& stack() const noexcept { return state_->stack; }

 private:
  [[gnu::visibility("hidden")]] void end() noexcept {
    if (joinable()) {
      request_stop();
      join();
    }
  }

  std::unique_ptr<detail::ThreadState> state_;  ///< null: not joinable
  std::stop_source stop_;
};

/// pthread_create(3) on a growable stack, for those who have a pthread_attr_t, or need the thread's
/// result: `attributes` may be null, and all of them count but the stack's address, size and guard.
/// Commits what the C library takes for the thread's descriptor and its thread-local storage, and
/// attaches the thread before it calls start(argument).
///
/// The stack must stay, and nobody else use or trim it, until the thread has been joined. Any
/// thread; not from a signal handler. Returns 0 or an errno, as pthread_create(3) does: EINVAL if
/// the stack is too small (least_thread_stack()) or the attributes ask for a detached thread, of
/// which nobody could tell when its stack may go; EAGAIN, EPERM; ENOMEM.
[[nodiscard]] int create_thread(pthread_t* thread, const Stack& stack,
                                const pthread_attr_t* attributes, void* (*start)(void*),
                                void* argument) noexcept;

/// Bytes of a thread's stack that the C library takes or wants to be there: the descriptor, all
/// static thread-local storage, and room for the first frames. What create_thread() commits.
[[nodiscard]] std::size_t least_thread_stack() noexcept;

}  // namespace growstack

#pragma GCC visibility pop
