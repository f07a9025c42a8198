// Attaching a thread: it gets an alternate signal stack. Without one, the kernel has no place to
// run the handler of a fault on a full stack.
//
// Each thread has its own; a new thread inherits none. We reserve 64 KiB, because handlers of
// others run on it as well: those that we forward to, and every SA_ONSTACK handler of the program.
// Only the pages that were touched cost memory.
#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/init_order.hpp>
#include <growstack/handler/pages.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/is_writable.hpp"
#include "anywhere/keep_handler.hpp"
#include "process/alternate_memory.hpp"
#include "process/install.hpp"

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <utility>

namespace growstack::handler {
namespace {

constexpr int auto_disarm = static_cast<int>(1U << 31U);  // SS_AUTODISARM of <linux/signal.h>

bool is_enabled(const stack_t& stack) noexcept { return (stack.ss_flags & SS_DISABLE) == 0; }

bool is_large_enough(const stack_t& stack) noexcept {
  return is_enabled(stack) && stack.ss_size >= least_alternate_stack_size();
}

/// Returns whether the upper part of an alternate stack, as much as our handler needs, is there. A
/// thread may have one registered that its owner has unmapped.
bool is_mapped(const stack_t& stack) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(stack.ss_sp);
  const std::uintptr_t end = begin + stack.ss_size;
  return is_writable(end - sizeof(std::uint32_t)) &&
         is_writable(std::max(begin, end - least_alternate_stack_size()));
}

}  // namespace

namespace {

/// What KeepHandler::changes was when this thread was found attached in such a way that nobody can
/// undo it unless that changes; otherwise 0.
[[gnu::tls_model("initial-exec")]] constinit thread_local std::uint64_t stays_attached_since = 0;

bool stays_attached(const KeepHandler& component) noexcept {
  return stays_attached_since == component.changes->load(std::memory_order_relaxed) &&
         watches(SIGSEGV);
}

/// Returns whether each signal that is ours is kept.
bool all_are_kept() noexcept { return is_kept(SIGSEGV) && (!watches(SIGBUS) || is_kept(SIGBUS)); }

}  // namespace

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
      if (AlternateStackMemory none; !stays_attached()) {
        static_cast<void>(attach(none));  // no memory at worst
      }
      return false;
    }
    stays_attached_since = 0;
    if (memory_.begin != nullptr) {
      end_use();  // unless we are running on it: then it stays where it is
    }
    return true;
  }

  /// Returns 0 or an errno.
  [[nodiscard]] int attach(AlternateStackMemory& memory) noexcept {
    is_found_in_force_ = false;
    const bool is_first = memory_.begin == nullptr && !has_good_one_ && keep_component() == nullptr;
    return is_first && memory.reserve() == 0 ? attach_first(memory) : attach_again(memory);
  }

  /// Returns whether the last attach() found ours in force. If a handler switches to another stack
  /// (SS_AUTODISARM) and is left by a jump, the thread has none any more.
  [[nodiscard]] bool was_found_in_force() const noexcept { return is_found_in_force_; }

 private:
  /// POSIX promises four rounds. Not the last one, because then AddressSanitizer unmaps what is in
  /// force.
  static constexpr int last_round = 3;
  static_assert(last_round < PTHREAD_DESTRUCTOR_ITERATIONS);

  void take(AlternateStackMemory& memory) noexcept {
    memory_ = {.begin = std::exchange(memory.begin_, nullptr), .size = memory.size_};
  }
  void give_up() noexcept { put_alternate_memory(std::exchange(memory_, {})); }

  /// Almost every thread that was never attached needs ours: to set it tells what there was.
  [[nodiscard]] int attach_first(AlternateStackMemory& memory) noexcept {
    take(memory);
    const stack_t stack = ours();
    if (const int error = change_alternate_stack(&stack, &previous_); error != 0) {
      give_up();
      return error;
    }
    has_good_one_ = is_large_enough(previous_) && is_mapped(previous_) &&
                    change_alternate_stack(&previous_, nullptr) == 0;
    if (has_good_one_) {
      give_up();
    }
    return 0;
  }

  [[nodiscard]] int attach_again(AlternateStackMemory& memory) noexcept {
    stack_t current{};
    if (const int error = change_alternate_stack(nullptr, &current); error != 0) {
      return error;
    }
    if ((current.ss_flags & SS_ONSTACK) != 0) {
      // In a signal handler on that very stack: once we left it, a fault would overwrite the
      // handler's frames.
      return EPERM;
    }
    if (memory_.begin != nullptr && !is_still_ours(current)) {
      forget();
    }
    const bool is_ours = memory_.begin != nullptr && is_in_force(current);
    const bool is_good = is_large_enough(current) && (is_ours || is_mapped(current));
    is_found_in_force_ = is_ours && is_good && (current.ss_flags & auto_disarm) == 0;
    // The component keep_handler puts ours in force when the program takes a good one away.
    if (is_good && (keep_component() == nullptr || memory_.begin != nullptr)) {
      return 0;
    }
    if (memory_.begin == nullptr) {
      if (const int error = memory.reserve(); error != 0) {
        return error;
      }
      take(memory);
    }
    const int error = is_good ? offer() : put_in_force();
    if (error != 0) {
      give_up();
      return error;
    }
    previous_ = current;
    return 0;
  }

  /// Another one may begin at the same place, after ours was unmapped.
  [[nodiscard]] bool is_in_force(const stack_t& current) const noexcept {
    const stack_t stack = ours();
    return current.ss_sp == stack.ss_sp && current.ss_size == stack.ss_size;
  }

  /// Returns whether nobody can have touched ours: it is in force, or the program's good one is and
  /// the component has shown ours to nobody.
  [[nodiscard]] bool is_untouched(const stack_t& current) const noexcept {
    return is_in_force(current) || (keep_component() != nullptr && is_large_enough(current));
  }

  /// Who takes a stack away may unmap it, and map something else there. Before a thread ends it
  /// suffices that there is memory: test frameworks put theirs over ours again and again, and other
  /// memory each time would be a leak. When it ends, sanitizers and their like unmap what they
  /// find.
  [[nodiscard]] bool is_still_ours(const stack_t& current) const noexcept {
    return is_untouched(current) || (rounds_ == 0 && is_mapped(ours()));
  }

  /// Gives ours up, after others have done something with it. Its memory may be theirs by now.
  void forget() noexcept {
    if (const KeepHandler* const component = keep_component(); component != nullptr) {
      const stack_t stack = ours();
      static_cast<void>(component->give_back_alternate_stack(&stack));  // ours is not in force
    }
    leave_alternate_memory(std::exchange(memory_, {}));
  }

  /// The lowest page is the guard.
  [[nodiscard]] void* usable() const noexcept { return memory_.begin + page_size(); }

  [[nodiscard]] stack_t ours() const noexcept {
    return {.ss_sp = usable(), .ss_flags = 0, .ss_size = memory_.size - page_size()};
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

  /// Puts the previous one back and gives ours up, or leaves it if others may have touched it.
  void end_use() noexcept {
    const KeepHandler* const component = keep_component();
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    stack_t current{};
    if (component != nullptr) {
      const stack_t stack = ours();
      if (change_alternate_stack(nullptr, &current) != 0 ||
          component->give_back_alternate_stack(&stack) != 0) {
        return;
      }
    } else {
      const bool may_be_put_back = is_enabled(previous_) && is_mapped(previous_);
      if (change_alternate_stack(may_be_put_back ? &previous_ : &none, &current) != 0) {
        return;
      }
      if (!is_untouched(current)) {
        // One that others have put over ours stays, because they (sanitizers among them) unmap
        // whatever is current when their thread ends.
        static_cast<void>(change_alternate_stack(&current, nullptr));
      }
    }
    is_untouched(current) ? give_up() : forget();
  }

  AlternateMemory memory_;
  stack_t previous_{};
  int rounds_ = 0;
  bool has_good_one_ = false;  ///< the program gave it one before it was attached
  bool is_found_in_force_ = false;
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
  const int error = pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);
  if (error == 0) {
    return 0;
  }
  errno = error;
  return failed(SystemCall::pthread_sigmask);
}

}  // namespace

bool stays_attached() noexcept {
  const KeepHandler* const component = keep_component();
  return component != nullptr && stays_attached(*component);
}

int attach_thread() noexcept {
  AlternateStackMemory none;
  return attach_thread(none);
}

int attach_thread(AlternateStackMemory& memory) noexcept {
  static constinit thread_local AlternateStack alternate_stack;
  const KeepHandler* const component = keep_component();
  if (component != nullptr && stays_attached(*component)) {
    return 0;
  }
  // Read before all that it tells of.
  const std::uint64_t changes =
      component == nullptr ? 0 : component->changes->load(std::memory_order_acquire);
  int error = detach_key.error();
  if (error == 0) {
    error = pthread_setspecific(detach_key.key(), &alternate_stack);
  }
  if (error == 0) {
    error = alternate_stack.attach(memory);
  }
  if (error == 0) {
    error = unblock_faults();
  }
  // A vfork child has a stack of signals of its own, and the variables of its parent.
  if (error == 0 && component != nullptr && alternate_stack.was_found_in_force() &&
      all_are_kept() && !in_vfork_child()) {
    stays_attached_since = changes;
  }
  return error;
}

}  // namespace growstack::handler
