// Which signal handlers lack SA_ONSTACK, and adding it.
#include <growstack/handler/signals.hpp>

#include "anywhere/kernel_action.hpp"

#include <cstdint>
#include <cstring>

namespace growstack::handler {
namespace {

constexpr int last_signal = 64;

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
    KernelAction action;
    if (get_kernel_action(signal, action) == 0 && runs_on_the_interrupted_stack(action)) {
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
    KernelAction action;
    if ((wanted & bit(signal)) == 0 || get_kernel_action(signal, action) != 0 ||
        !runs_on_the_interrupted_stack(action)) {
      continue;
    }
    action.flags |= SA_ONSTACK;
    if (const int error = set_kernel_action(signal, action); error != 0) {
      return error;
    }
  }
  return 0;
}

}  // namespace growstack::handler
