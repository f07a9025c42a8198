// Threads on growable stacks: started, joined, detached.
#include <growstack/stack_pool.hpp>
#include <growstack/thread.hpp>

#include "arenas/arena.hpp"
#include "errors.hpp"
#include "memory/vm.hpp"
#include "stacks/attached_start.hpp"
#include "stacks/stack_access.hpp"
#include "strategies/start_handler.hpp"

#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/init_order.hpp>
#include <growstack/handler/machine.hpp>
#include <growstack/handler/without_cancellation.hpp>

#include <dlfcn.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

namespace growstack {
namespace {

/// Commits what the C library takes at the base, and the frames below it until the thread is
/// attached, because a fault there would kill the process. The kernel also reads and writes the
/// descriptor, and for its accesses no handler is called.
int commit_for_thread(const Stack& stack, std::size_t bytes) noexcept {
  const auto base = reinterpret_cast<std::uintptr_t>(stack.base());
  return bytes > stack.reserved() ? EINVAL : handler::commit_ahead(base - 1, base - bytes);
}

/// Lets a runtime that learns the bounds of its thread's stack (pthread_getattr_np(3)) forbid pages
/// at the low end.
void watch_low_end(const Stack& stack) noexcept {
  const OpenSlot slot = StackAccess::slot(stack);
  slot.implementation().watch_low_end(slot.record());
}

/// The states of all threads that have not been joined.
///
/// A detached thread is not really detached. Its stack can only be released when the C library no
/// longer needs the descriptor that lies on it, and only pthread_tryjoin_np(3) tells. So sweep()
/// looks at these threads now and then.
///
/// A forked child has only the thread that called fork(2). The C library of the child forgets the
/// other threads, but not the ids in descriptors that lie on our stacks: pthread_join(3) would wait
/// for these threads for ever. So the child marks their states.
class Threads {
 public:
  void add(detail::ThreadState& state) noexcept {
    const std::lock_guard guard(lock_);
    insert(state, owned_);
  }

  void remove(detail::ThreadState& state) noexcept {
    const std::lock_guard guard(lock_);
    take_out(state);
  }

  void detach(std::unique_ptr<detail::ThreadState> state) noexcept {
    const std::lock_guard guard(lock_);
    take_out(*state);
    insert(*state.release(), detached_);
  }

  /// Releases the stacks of detached threads that have ended.
  void sweep() noexcept {
    detail::ThreadState* ended = take_out_ended();
    while (ended != nullptr) {
      // Without the lock, because the callable of a thread that is gone may own threads.
      delete std::exchange(ended, ended->next);
    }
  }

  void before_fork() noexcept { lock_.lock(); }
  void after_fork_in_parent() noexcept { lock_.unlock(); }
  void after_fork_in_child() noexcept {
    for (detail::ThreadState* const first : {owned_, detached_}) {
      for (detail::ThreadState* state = first; state != nullptr; state = state->next) {
        state->gone = pthread_equal(state->handle, pthread_self()) == 0;
      }
    }
    lock_.unlock();
  }

 private:
  static void insert(detail::ThreadState& state, detail::ThreadState*& first) noexcept {
    state.next = first;
    state.link = &first;
    if (first != nullptr) {
      first->link = &state.next;
    }
    first = &state;
  }

  /// Returns the first of them.
  [[nodiscard]] detail::ThreadState* take_out_ended() noexcept {
    const std::lock_guard guard(lock_);
    detail::ThreadState* ended = nullptr;
    for (detail::ThreadState* next = detached_; next != nullptr;) {
      detail::ThreadState& state = *std::exchange(next, next->next);
      if (state.gone || pthread_tryjoin_np(state.handle, nullptr) == 0) {
        take_out(state);
        insert(state, ended);
      }
    }
    return ended;
  }

  static void take_out(detail::ThreadState& state) noexcept {
    *state.link = state.next;
    if (state.next != nullptr) {
      state.next->link = state.link;
    }
  }

  std::mutex lock_;
  detail::ThreadState* owned_ = nullptr;     ///< the first state that a Thread owns
  detail::ThreadState* detached_ = nullptr;  ///< the first state of a detached thread
};

/// Made when the program is loaded, because a child that is forked while another thread makes it
/// would find it half made forever. Made after the registers of stacks, because their locks are
/// taken under this one. Never destroyed, because detached threads may outlive everything else.
class TheThreads {
 public:
  TheThreads() : threads_(*new Threads) {
    static_cast<void>(pthread_atfork(before_fork, in_parent, in_child));
  }
  Threads& operator*() const noexcept { return threads_; }

 private:
  static void before_fork() noexcept;
  static void in_parent() noexcept;
  static void in_child() noexcept;

  Threads& threads_;
};

[[gnu::init_priority(handler::init_dependents)]] const TheThreads the_threads;

void TheThreads::before_fork() noexcept { (*the_threads).before_fork(); }
void TheThreads::in_parent() noexcept { (*the_threads).after_fork_in_parent(); }
void TheThreads::in_child() noexcept { (*the_threads).after_fork_in_child(); }

/// Asks how large a stack pthread_create(3) requires. Only a private symbol of glibc (since 2.15)
/// tells.
std::size_t ask_for_least_stack() noexcept {
  using Ask = std::size_t (*)(const pthread_attr_t*);
  constexpr std::size_t without_knowing = std::size_t{256} * 1024;
  const auto ask = reinterpret_cast<Ask>(dlsym(RTLD_DEFAULT, "__pthread_get_minstack"));
  pthread_attr_t attributes;
  if (ask == nullptr || pthread_attr_init(&attributes) != 0) {
    return without_knowing;
  }
  const std::size_t told = ask(&attributes);
  pthread_attr_destroy(&attributes);
  return vm::page_up(told);
}

/// Returns 0 or an errno.
int look_at_handler_of(const Stack& stack) noexcept {
  try {
    look_at_handler(StackAccess::slot(stack).implementation());
    return 0;
  } catch (const std::system_error& error) {
    return error.code().value();
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

bool is_given(std::string_view name) noexcept {
  return name != StackOptions().name && name != PoolOptions().name;
}

void take_name_of(const Stack& stack) noexcept {
  constexpr std::size_t most = 15;  // Linux keeps no more
  char name[most + 1] = {};
  stack.name().copy(name, most);
  pthread_setname_np(pthread_self(), name);
}

void* run_body(void* given) {
  detail::ThreadState& state = *static_cast<detail::ThreadState*>(given);
  if (is_given(state.stack.name())) {
    take_name_of(state.stack);
  }
  // It is destroyed in this thread, also if the thread ends by pthread_exit(3).
  const std::unique_ptr<detail::ThreadBody> body = std::move(state.body);
  const auto run = [](void* of) { static_cast<detail::ThreadBody*>(of)->run(); };
  handler::call_outermost(run, body.get());
  return nullptr;
}

}  // namespace

std::size_t least_thread_stack() noexcept {
  // An atomic, because a child that is forked while another thread computes a static variable would
  // find its guard taken forever. Any thread may write it, and all write the same value.
  static constinit std::atomic<std::size_t> known{0};
  if (known.load(std::memory_order_relaxed) == 0) {
    known.store(ask_for_least_stack(), std::memory_order_relaxed);
  }
  return known.load(std::memory_order_relaxed);
}

int create_thread(pthread_t* thread, const Stack& stack, const pthread_attr_t* attributes,
                  void* (*start)(void*), void* argument) noexcept {
  pthread_attr_t with_stack;
  if (const int error = pthread_attr_init(&with_stack); error != 0) {
    return error;
  }
  if (attributes != nullptr) {
    int detached = PTHREAD_CREATE_JOINABLE;
    pthread_attr_getdetachstate(attributes, &detached);
    if (detached != PTHREAD_CREATE_JOINABLE) {
      return EINVAL;
    }
    // POSIX has no way to copy attributes. In the C libraries of Linux they are plain data, and
    // what they point to is only read here. The fresh attributes own nothing yet that could be
    // lost.
    with_stack = *attributes;
  }
  if (const int error = pthread_attr_setstack(&with_stack, stack.floor(), stack.reserved());
      error != 0) {
    return error;
  }
  if (const int error = look_at_handler_of(stack); error != 0) {
    return error;
  }
  if (const int error = commit_for_thread(stack, least_thread_stack()); error != 0) {
    return error_of_growth(error);
  }
  watch_low_end(stack);
  auto made = AttachedStart<void*>::make(start, argument);
  if (made == nullptr) {
    return errno;
  }
  handler::commit_for_c_library();
  const int error = pthread_create(thread, &with_stack, &AttachedStart<void*>::run, made.get());
  if (error == 0) {
    static_cast<void>(made.release());  // the thread owns it now
  } else {
    errno = error;
    handler::failed(handler::SystemCall::pthread_create);
  }
  return error;
}

namespace detail {

void start_thread(ThreadState& state) {
  Threads& all = *the_threads;
  all.sweep();
  const std::size_t least = least_thread_stack();
  if (state.stack.reserved() < least) {
    fail(EINVAL, "StackOptions::reserve must be at least " + in_bytes(least) +
                     " for a thread, of which the C library takes a part, not " +
                     in_bytes(state.stack.reserved()));
  }
  if (commit_for_thread(state.stack, least) == EDQUOT) {
    fail(ENOMEM, "cannot start a thread, which commits " + in_bytes(least) +
                     " at once: " + StackAccess::slot(state.stack).arena().explain_budget());
  }
  all.add(state);  // before the thread runs, because it may fork at once
  if (const int error = create_thread(&state.handle, state.stack, nullptr, run_body, &state);
      error != 0) {
    all.remove(state);
    fail_for_thread(error, "cannot start a thread", least + handler::alternate_stack_size());
  }
}

void join_thread(std::unique_ptr<ThreadState>& state) {
  if (state == nullptr) {
    fail(EINVAL, "no thread to join");
  }
  if (const int error = state->gone ? 0 : pthread_join(state->handle, nullptr); error != 0) {
    fail(error, error == EDEADLK ? "a thread cannot join itself" : "cannot join a thread");
  }
  Threads& all = *the_threads;
  all.remove(*state);
  state.reset();
  all.sweep();
}

void end_thread(std::unique_ptr<ThreadState>& state) noexcept {
  const handler::WithoutCancellation without_cancellation;
  join_thread(state);
}

void detach_thread(std::unique_ptr<ThreadState>& state) {
  if (state == nullptr) {
    fail(EINVAL, "no thread to detach");
  }
  Threads& all = *the_threads;
  all.detach(std::move(state));
  all.sweep();
}

}  // namespace detail
}  // namespace growstack
