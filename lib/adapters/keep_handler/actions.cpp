#include "adapters/keep_handler/actions.hpp"

#include "adapters/keep_handler/kept.hpp"
#include "adapters/keep_handler/libc.hpp"
#include "adapters/keep_handler/thread_view.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>

namespace growstack::keep {

constinit std::atomic<std::uint64_t> kept{0};
constinit std::atomic<std::uint64_t> times_given_back{0};
constinit std::atomic<std::uint64_t> changes{1};
constinit std::atomic<bool (*)()> in_vfork_child{nullptr};

namespace {

/// What differs between two actions. The flags are those that libc would report.
struct Action {
  void (*handler)(int) = SIG_DFL;
  std::uint64_t mask = 0;
  int flags = 0;
  void (*restorer)() = nullptr;

  bool operator==(const Action&) const noexcept = default;
};

/// What libc adds to each action: the function that ends a handler, and a flag that says so, where
/// the processor needs them. Written before a signal is kept.
constinit std::atomic<int> flags_of_libc{0};
constinit std::atomic<void (*)()> restorer_of_libc{nullptr};

/// Flags that the kernel knows. It drops all others (Linux 5.11).
constexpr int known_flags = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART |
                            SA_NODEFER | static_cast<int>(SA_RESETHAND);

Action from_program(const struct sigaction& action) noexcept {
  return {.handler = action.sa_handler,
          .mask = word(action.sa_mask) & ~(bit(SIGKILL) | bit(SIGSTOP)),
          .flags = (action.sa_flags & known_flags) | flags_of_libc.load(std::memory_order_relaxed),
          .restorer = restorer_of_libc.load(std::memory_order_relaxed)};
}

Action from_kernel(const struct sigaction& action) noexcept {
  return {.handler = action.sa_handler,
          .mask = word(action.sa_mask),
          .flags = action.sa_flags,
          .restorer = action.sa_restorer};
}

struct sigaction as_libc_has_it(const Action& action) noexcept {
  struct sigaction result {};
  result.sa_handler = action.handler;
  set_word(result.sa_mask, action.mask);
  result.sa_flags = action.flags;
  result.sa_restorer = action.restorer;
  return result;
}

/// All different actions that there ever were.
class Store {
 public:
  using Index = std::uint32_t;

  /// Returns the index of an equal action. Two threads may store the same action twice, which does
  /// no harm. Nothing if all places are taken.
  std::optional<Index> store(const Action& action) noexcept {
    const Index end = std::min(taken_.load(std::memory_order_acquire), places);
    for (Index i = 0; i < end; ++i) {
      if (entries_[i].is_complete.load(std::memory_order_acquire) && entries_[i].action == action) {
        return i;
      }
    }
    Index place = taken_.load(std::memory_order_relaxed);
    do {
      if (place >= places) {
        return std::nullopt;
      }
    } while (!taken_.compare_exchange_weak(place, place + 1, std::memory_order_acq_rel));
    entries_[place].action = action;
    entries_[place].is_complete.store(true, std::memory_order_release);
    return place;
  }

  [[nodiscard]] const Action& operator[](Index index) const noexcept {
    return entries_[index].action;
  }

 private:
  static constexpr Index places = 8192;
  struct Entry {
    Action action;
    std::atomic<bool> is_complete{false};
  };
  Entry entries_[places];
  std::atomic<Index> taken_{0};
};
constinit Store store;

/// What is known of one signal.
struct SignalState {
  /// Index of the program's action, while the signal is kept.
  std::atomic<Store::Index> current{0};
  /// Bits of kept signals that the program has in the mask of the action, and the kernel has not,
  /// while the signal is not kept. Two threads that set the action at the same time may leave the
  /// bits of the other one's.
  std::atomic<std::uint64_t> removed{0};
  /// The handler that keep() was told of.
  std::atomic<void (*)(int, siginfo_t*, void*)> first{nullptr};
};
constinit SignalState states[last_signal + 1];

/// Takes the kept signals out of the masks of all actions that the kernel has.
void remove_from_other_actions(std::uint64_t signals) noexcept {
  for (int signal = 1; signal <= last_signal; ++signal) {
    struct sigaction action {};
    if ((signals & bit(signal)) == 0 && libc.sigaction.get()(signal, nullptr, &action) == 0 &&
        (word(action.sa_mask) & signals) != 0) {
      states[signal].removed.fetch_or(word(action.sa_mask) & signals);
      action.sa_mask = without(action.sa_mask, signals);
      libc.sigaction.get()(signal, &action, nullptr);
    }
  }
}

void put_back_into_other_actions(std::uint64_t signals) noexcept {
  for (int signal = 1; signal <= last_signal; ++signal) {
    const std::uint64_t removed = states[signal].removed.fetch_and(~signals) & signals;
    struct sigaction action {};
    if (removed != 0 && libc.sigaction.get()(signal, nullptr, &action) == 0) {
      set_word(action.sa_mask, word(action.sa_mask) | removed);
      libc.sigaction.get()(signal, &action, nullptr);
    }
  }
}

int set_in_kernel(int signal, const struct sigaction& action) noexcept {
  return libc.sigaction.get()(signal, &action, nullptr) == 0 ? 0 : errno;
}

/// Has the kernel restart system calls after a signal that somebody sends, or interrupt them, as
/// the program's action says.
void follow_restart_flag(int signal, const Action& action) noexcept {
  const bool is_handler = action.handler != SIG_DFL && action.handler != SIG_IGN;
  const int wanted = is_handler ? action.flags & SA_RESTART : SA_RESTART;
  struct sigaction now {};
  if (libc.sigaction.get()(signal, nullptr, &now) == 0 &&
      now.sa_sigaction == states[signal].first.load(std::memory_order_relaxed) &&
      (now.sa_flags & SA_RESTART) != wanted) {
    now.sa_flags ^= SA_RESTART;
    static_cast<void>(set_in_kernel(signal, now));  // a filter may forbid it
  }
}

}  // namespace

struct sigaction program_action(int signal) noexcept {
  return as_libc_has_it(store[states[signal].current.load(std::memory_order_acquire)]);
}

int exchange_program_action(int signal, const struct sigaction& action,
                            struct sigaction* old) noexcept {
  const std::optional<Store::Index> index = store.store(from_program(action));
  if (!index) {
    return ENOMEM;
  }
  const Store::Index before = states[signal].current.exchange(*index, std::memory_order_acq_rel);
  follow_restart_flag(signal, store[*index]);
  if (old != nullptr) {
    *old = as_libc_has_it(store[before]);
  }
  return 0;
}

struct sigaction take_program_action(int signal) noexcept {
  std::atomic<Store::Index>& current = states[signal].current;
  Store::Index index = current.load(std::memory_order_acquire);
  for (;;) {
    const Action& action = store[index];
    const bool is_handler = action.handler != SIG_DFL && action.handler != SIG_IGN;
    if (!is_handler || (action.flags & static_cast<int>(SA_RESETHAND)) == 0 ||
        is_in_vfork_child()) {
      return as_libc_has_it(action);
    }
    Action spent = action;
    spent.handler = SIG_DFL;  // the kernel keeps flags and mask
    const std::optional<Store::Index> next = store.store(spent);
    if (!next || current.compare_exchange_strong(index, *next, std::memory_order_acq_rel)) {
      return as_libc_has_it(action);
    }
  }
}

int change_other_action(int signal, const struct sigaction* action, struct sigaction* old,
                        std::uint64_t kept_signals) noexcept {
  if (!is_signal(signal)) {
    return libc.sigaction.get()(signal, action, old);
  }
  std::atomic<std::uint64_t>& removed = states[signal].removed;
  std::uint64_t before = removed.load(std::memory_order_relaxed);
  int result = 0;
  if (action == nullptr) {
    result = libc.sigaction.get()(signal, nullptr, old);
  } else {
    struct sigaction for_kernel = *action;
    for_kernel.sa_mask = without(action->sa_mask, kept_signals);
    const std::uint64_t bits = word(action->sa_mask) & kept_signals;
    result = libc.sigaction.get()(signal, &for_kernel, old);
    if (result == 0) {
      before = removed.exchange(bits, std::memory_order_acq_rel);
    }
  }
  if (result == 0 && old != nullptr) {
    set_word(old->sa_mask, word(old->sa_mask) | before);
  }
  return result;
}

void forget_removed_bits(int signal) noexcept {
  if (is_signal(signal)) {
    states[signal].removed.store(0, std::memory_order_relaxed);
  }
}

int keep(int signal, const struct sigaction* first, bool (*is_vfork_child)()) noexcept {
  struct sigaction before {};
  if (libc.sigaction.get()(signal, nullptr, &before) != 0) {
    return errno;
  }
  SignalState& state = states[signal];
  set_word(before.sa_mask, word(before.sa_mask) | state.removed.load(std::memory_order_relaxed));
  const std::optional<Store::Index> index = store.store(from_kernel(before));
  if (!index) {
    return ENOMEM;
  }
  state.current.store(*index, std::memory_order_release);
  state.first.store(first->sa_sigaction, std::memory_order_relaxed);
  in_vfork_child.store(is_vfork_child, std::memory_order_relaxed);
  // From now on our handler may ask for the program's action, and the program does not reach the
  // kernel any more.
  kept.fetch_or(bit(signal), std::memory_order_acq_rel);
  if (const int error = set_in_kernel(signal, *first); error != 0) {
    kept.fetch_and(~bit(signal), std::memory_order_acq_rel);
    return error;
  }
  struct sigaction reported {};
  if (libc.sigaction.get()(signal, nullptr, &reported) == 0) {
    flags_of_libc.store(reported.sa_flags & ~first->sa_flags, std::memory_order_relaxed);
    restorer_of_libc.store(reported.sa_restorer, std::memory_order_relaxed);
  }
  remove_from_other_actions(kept.load(std::memory_order_relaxed));
  changes.fetch_add(1, std::memory_order_release);
  return 0;
}

int give_back(int signal) noexcept {
  SignalState& state = states[signal];
  kept.fetch_and(~bit(signal), std::memory_order_acq_rel);
  // Without those that are kept still: from here on its action is one of the others.
  const struct sigaction action = program_action(signal);
  const std::uint64_t kept_still = kept.load(std::memory_order_relaxed);
  const int error = change_other_action(signal, &action, nullptr, kept_still) == 0 ? 0 : errno;
  if (error == 0) {
    times_given_back.fetch_add(one_time_more(signal), std::memory_order_relaxed);
    state.first.store(nullptr, std::memory_order_relaxed);
    put_back_into_other_actions(bit(signal));
    give_back_blocked(signal);
  }
  changes.fetch_add(1, std::memory_order_release);
  return error;
}

void (*first_handler(int signal))(int, siginfo_t*, void*) {
  return states[signal].first.load(std::memory_order_relaxed);
}

}  // namespace growstack::keep
