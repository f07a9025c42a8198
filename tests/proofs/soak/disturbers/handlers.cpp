#include "proofs/soak/disturbers/handlers.hpp"

#include "proofs/soak/counts.hpp"

#include <unistd.h>

#include <array>
#include <csignal>

namespace growstack::soak {
namespace {

/// The actions below ours, by signal. Written before ours is installed.
std::array<struct sigaction, 65> below{};

void call_the_one_below(int signal, siginfo_t* info, void* context) {
  const struct sigaction& action = below[static_cast<std::size_t>(signal)];
  action.sa_sigaction(signal, info, context);
}

}  // namespace

void swap_a_handler(Random& random) {
  const int signal = random.one_in(2) ? SIGSEGV : SIGBUS;
  struct sigaction& before = below[static_cast<std::size_t>(signal)];
  sigaction(signal, nullptr, &before);
  if ((before.sa_flags & SA_SIGINFO) == 0 || before.sa_sigaction == call_the_one_below) {
    return;  // nobody is below yet
  }
  struct sigaction over {};
  over.sa_sigaction = call_the_one_below;
  over.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&over.sa_mask);
  sigaction(signal, &over, nullptr);
  usleep(static_cast<useconds_t>(random.log_uniform(1, 5000)));
  sigaction(signal, &before, nullptr);
  counts.handlers_swapped.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
