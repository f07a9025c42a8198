// Which signal handlers lack SA_ONSTACK, and adding it.
#include <growstack/handler/signals.hpp>

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace growstack::handler {
namespace {

/// The kernel's struct of an action (rt_sigaction(2), "C library/kernel differences"). sigaction(3)
/// of libc hides the signals that libc keeps for itself.
struct KernelAction {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)();
  std::uint64_t mask;
};

constexpr int last_signal = 64;
constexpr std::size_t mask_bytes = sizeof(std::uint64_t);

int get_action(int signal, KernelAction& action) noexcept {
  return syscall(SYS_rt_sigaction, signal, nullptr, &action, mask_bytes) == 0 ? 0 : errno;
}

bool runs_on_the_interrupted_stack(const KernelAction& action) noexcept {
  return action.handler != SIG_DFL && action.handler != SIG_IGN && (action.flags & SA_ONSTACK) == 0;
}

std::uint64_t bit(int signal) noexcept {
  return std::uint64_t{1} << static_cast<unsigned>(signal - 1);
}

}  // namespace

sigset_t handlers_without_onstack() noexcept {
  std::uint64_t found = 0;
  for (int signal = 1; signal <= last_signal; ++signal) {
    KernelAction action{};
    if (get_action(signal, action) == 0 && runs_on_the_interrupted_stack(action)) {
      found |= bit(signal);
    }
  }
  sigset_t signals;
  sigemptyset(&signals);
  std::memcpy(&signals, &found, sizeof found);  // sigaddset(3) refuses libc's own
  return signals;
}

int add_onstack(const sigset_t& signals) noexcept {
  std::uint64_t wanted = 0;
  std::memcpy(&wanted, &signals, sizeof wanted);
  for (int signal = 1; signal <= last_signal; ++signal) {
    KernelAction action{};
    if ((wanted & bit(signal)) == 0 || get_action(signal, action) != 0 ||
        !runs_on_the_interrupted_stack(action)) {
      continue;
    }
    action.flags |= SA_ONSTACK;
    if (syscall(SYS_rt_sigaction, signal, &action, nullptr, mask_bytes) != 0) {
      return errno;
    }
  }
  return 0;
}

}  // namespace growstack::handler
