#include "proofs/soak/disturbers/handlers.hpp"

#include <growstack/handler/handler.hpp>

#include "proofs/soak/counts.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>

namespace growstack::soak {
namespace {

using Handler = void (*)(int, siginfo_t*, void*);

/// The handlers below ours, by signal.
std::array<std::atomic<Handler>, 65> below{};

void call_the_one_below(int signal, siginfo_t* info, void* context) {
  below[static_cast<std::size_t>(signal)].load()(signal, info, context);
}

}  // namespace

void swap_a_handler(Random& random) {
  const int signal = random.one_in(2) ? SIGSEGV : SIGBUS;
  // Otherwise the library may be about to be installed, and would be taken away again.
  if (!handler::installed(signal)) {
    return;
  }
  struct sigaction before {};
  sigaction(signal, nullptr, &before);
  below[static_cast<std::size_t>(signal)] = before.sa_sigaction;
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
