// A plugin that contains growstack. Its host knows nothing of growstack.
#include <growstack/growstack.hpp>
#include <growstack/handler/keep_handler.hpp>

#include "support/descend.hpp"
#include "support/units.hpp"

#include <csignal>
#include <cstdio>

using namespace growstack;
using namespace growstack::testing;

/// Returns 7 if a stack grows after all has been done that would make it kill.
extern "C" GROWSTACK_EXPORT int grow_in_spite_of_everything() {
  Stack stack({.reserve = 8 * MiB, .strategy = Strategy::in_handler});
  return call(stack, [] {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    sigaltstack(&none, nullptr);
    signal(SIGSEGV, SIG_DFL);
    std::printf("kept %d\n", handler::is_kept(SIGSEGV));
    std::fflush(stdout);
    return descend(4 * MiB) == 0 ? 7 : 1;
  });
}
