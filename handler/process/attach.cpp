// Attaching a thread: it gets an alternate signal stack. Without one, the kernel has no place to
// run the handler of a fault on a full stack.
//
// Each thread has its own; a new thread inherits none. We reserve 64 KiB, because handlers of
// others run on it as well: those that we forward to, and every SA_ONSTACK handler of the program.
// Only the pages that were touched cost memory.
#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/init_order.hpp>
#include <growstack/handler/machine.hpp>

#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>
#include "anywhere/is_writable.hpp"
#include "anywhere/keep_handler.hpp"
#include "process/install.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <utility>

namespace growstack::handler {
namespace {

/// Bytes that our own handler may use below the kernel's frame. tests/fault/alternate_stack.cpp
/// measures what it does use.
constexpr std::size_t handler_bytes = std::size_t{16} * 1024;

std::atomic<std::size_t> wanted_size{std::size_t{64} * 1024};

bool is_enabled(const stack_t& stack) noexcept { return (stack.ss_flags & SS_DISABLE) == 0; }

/// Returns whether the upper part of an alternate stack, as much as our handler needs, is there. A
/// thread may have one registered that its owner has unmapped.
bool is_mapped(const stack_t& stack) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(stack.ss_sp);
  const std::uintptr_t end = begin + stack.ss_size;
  return is_writable(end - sizeof(std::uint32_t)) &&
         is_writable(std::max(begin, end - least_alternate_stack_size()));
}

}  // namespace

AlternateStackMemory::~AlternateStackMemory() {
  if (begin_ != nullptr) {
    munmap(begin_, size_);
  }
}

int AlternateStackMemory::reserve() noexcept {
  if (begin_ != nullptr) {
    return 0;
  }
  const std::size_t bytes = page_up(wanted_size.load(std::memory_order_relaxed)) + page_size();
  void* const memory =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) {
    return failed(SystemCall::mmap);
  }
  auto* const begin = static_cast<std::byte*>(memory);
  if (mprotect(begin + page_size(), bytes - page_size(), PROT_READ | PROT_WRITE) != 0) {
    const int error = failed(SystemCall::mprotect);
    munmap(begin, bytes);
    return error;
  }
  name_memory(reinterpret_cast<std::uintptr_t>(memory), bytes, signal_stack_name);
  begin_ = begin;
  size_ = bytes;
  return 0;
}

/// This thread's alternate stack, if it is ours. Trivially destructible, because a thread_local
/// destructor would run too early: when exit() is called on a growable stack, or when later
/// destructors still run on one.
class AlternateStack {
 public:
  /// Puts the previous alternate stack back and gives ours up, when the thread ends. Returns false
  /// if that has to wait for the next round of destructors, because those of other keys may still
  /// need ours. Until then sees to it that the thread has one: others take theirs away in such
  /// destructors.
  [[nodiscard]] bool detach() noexcept {
    if (++rounds_ < last_round) {
      AlternateStackMemory none;
      static_cast<void>(attach(none));  // no memory at worst
      return false;
    }
    if (memory_ != nullptr && put_previous_back() == 0) {
      munmap(std::exchange(memory_, nullptr), size_);
    }  // otherwise we are running on it: leak it rather than pull it away
    return true;
  }

  /// Returns 0 or an errno.
  [[nodiscard]] int attach(AlternateStackMemory& memory) noexcept {
    stack_t current{};
    if (const int error = change_alternate_stack(nullptr, &current); error != 0) {
      return error;
    }
    if ((current.ss_flags & SS_ONSTACK) != 0) {
      // In a signal handler on that very stack: once we left it, a fault would overwrite the
      // handler's frames.
      return EPERM;
    }
    const bool is_ours = memory_ != nullptr && current.ss_sp == usable();
    const bool is_large_enough =
        is_enabled(current) && current.ss_size >= least_alternate_stack_size();
    const bool is_good = is_large_enough && (is_ours || is_mapped(current));
    // The component keep_handler puts ours in force when the program takes a good one away.
    if (is_good && (keep_component() == nullptr || memory_ != nullptr)) {
      return 0;
    }
    if (memory_ == nullptr) {
      if (const int error = memory.reserve(); error != 0) {
        return error;
      }
      memory_ = std::exchange(memory.begin_, nullptr);
      size_ = memory.size_;
    }
    const int error = is_good ? offer() : put_in_force();
    if (error != 0) {
      munmap(std::exchange(memory_, nullptr), size_);
      return error;
    }
    previous_ = current;
    return 0;
  }

 private:
  /// POSIX promises four rounds. Not the last one, because then AddressSanitizer unmaps what is in
  /// force.
  static constexpr int last_round = 3;
  static_assert(last_round < PTHREAD_DESTRUCTOR_ITERATIONS);

  /// The lowest page is the guard.
  [[nodiscard]] void* usable() const noexcept { return memory_ + page_size(); }

  [[nodiscard]] stack_t ours() const noexcept {
    return {.ss_sp = usable(), .ss_flags = 0, .ss_size = size_ - page_size()};
  }

  /// Lets the component have ours for the time when the program has no good one.
  [[nodiscard]] int offer() const noexcept {
    const stack_t stack = ours();
    return keep_component()->keep_alternate_stack(&stack, least_alternate_stack_size(), false);
  }

  [[nodiscard]] int put_in_force() const noexcept {
    const stack_t stack = ours();
    const KeepHandler* const component = keep_component();
    return component == nullptr
               ? change_alternate_stack(&stack, nullptr)
               : component->keep_alternate_stack(&stack, least_alternate_stack_size(), true);
  }

  [[nodiscard]] int put_previous_back() const noexcept {
    const stack_t stack = ours();
    if (const KeepHandler* const component = keep_component(); component != nullptr) {
      return component->give_back_alternate_stack(&stack);
    }
    stack_t current{};
    // Only if ours is still in force, because others (sanitizers among them) unmap whatever is
    // current when their thread ends.
    if (change_alternate_stack(nullptr, &current) != 0 || current.ss_sp != stack.ss_sp) {
      return 0;
    }
    const bool may_be_put_back = !is_enabled(previous_) || is_mapped(previous_);
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    return change_alternate_stack(may_be_put_back ? &previous_ : &none, nullptr);
  }

  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  stack_t previous_{};
  int rounds_ = 0;
};

namespace {

/// The key whose destructor detaches. It runs when a thread ends, after those of the thread's
/// thread_local variables, and not in exit().
class DetachKey {
 public:
  DetachKey() noexcept : error_(pthread_key_create(&key_, end_of_thread)) {}
  [[nodiscard]] int error() const noexcept { return error_; }
  [[nodiscard]] pthread_key_t key() const noexcept { return key_; }

 private:
  static void end_of_thread(void* stack) noexcept;

  pthread_key_t key_{};
  int error_;
};

/// Made when the program is loaded. A function's static variable that another thread is just making
/// when this one forks would stay half made in the child for ever.
[[gnu::init_priority(init_foundations)]] const DetachKey detach_key;

void DetachKey::end_of_thread(void* stack) noexcept {
  if (!static_cast<AlternateStack*>(stack)->detach()) {
    // The key has a place in this thread already, so this cannot fail.
    static_cast<void>(pthread_setspecific(detach_key.key(), stack));
  }
}

/// Unblocks the signals of our faults. A fault whose signal is blocked kills without asking the
/// handler, and threads that block everything are common.
int unblock_faults() noexcept {
  if (is_kept(SIGSEGV)) {
    return keep_component()->unblock();
  }
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGSEGV);
  if (watches(SIGBUS)) {
    sigaddset(&faults, SIGBUS);
  }
  return pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);
}

}  // namespace

int attach_thread() noexcept {
  AlternateStackMemory none;
  return attach_thread(none);
}

int attach_thread(AlternateStackMemory& memory) noexcept {
  static constinit thread_local AlternateStack alternate_stack;
  int error = detach_key.error();
  if (error == 0) {
    error = pthread_setspecific(detach_key.key(), &alternate_stack);
  }
  if (error == 0) {
    error = alternate_stack.attach(memory);
  }
  return error == 0 ? unblock_faults() : error;
}

std::size_t least_alternate_stack_size() noexcept {
  return page_up(signal_frame_bytes() + handler_bytes);
}

int set_alternate_stack_size(std::size_t bytes) noexcept {
  if (bytes < least_alternate_stack_size() || bytes > SIZE_MAX / 2) {
    return EINVAL;
  }
  wanted_size.store(bytes, std::memory_order_relaxed);
  return 0;
}

std::size_t alternate_stack_size() noexcept { return wanted_size.load(std::memory_order_relaxed); }

}  // namespace growstack::handler
