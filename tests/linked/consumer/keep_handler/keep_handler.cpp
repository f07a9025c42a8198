// Blocks every signal, disables the alternate signal stack, sets the default action, and goes deep.
#include <growstack/growstack.hpp>
#include <growstack/handler/keep_handler.hpp>

#include <csignal>
#include <cstdio>

namespace {

int depth(int n) {
  volatile int here = n;
  return n == 0 ? 0 : depth(n - 1) + (here == n);
}

int go_deep_in_spite_of_everything() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  const stack_t none{nullptr, SS_DISABLE, 0};
  sigaltstack(&none, nullptr);
  signal(SIGSEGV, SIG_DFL);
  return depth(100'000);
}

}  // namespace

int main() {
  const growstack::StackOptions options{.strategy = growstack::Strategy::in_handler};
  const int reached = growstack::call(options, go_deep_in_spite_of_everything);
  std::printf("kept %d, depth %d\n", growstack::handler::is_kept(SIGSEGV), reached);
  return reached == 100'000 ? 0 : 1;
}
