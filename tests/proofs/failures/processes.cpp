// Children: forked ones, which have a copy of the stacks, and vforked ones, which share them.
#include <doctest/doctest.h>

#include "proofs/failures/every_failure.hpp"
#include "support/descend.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr int intact = 7;
constexpr int no_process = -1;

void require_intact(int status, const Trial& trial) {
  trial.require(status == no_process || (WIFEXITED(status) && WEXITSTATUS(status) == intact) ||
                    WIFSIGNALED(status),
                "the child ends with status " + std::to_string(status));
}

/// A child that dies has told why. So its end is that of the scenario.
void end_as(int status) {
  if (status != no_process && WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
  }
}

void forked(const Traits& of, const Trial& trial) {
  Stack stack(options_of(of));
  go_deep(stack, 50 * KiB, trial);
  int status = no_process;
  trial.watch([&] {
    call(stack, [&] {
      std::array<unsigned char, 20 * KiB> before;
      const Contents contents(before.data(), before.size());
      const pid_t child = fork();
      if (child == 0) {
        _exit(descend(300 * KiB) == 0 && contents.changed() == 0 ? intact : 1);
      }
      trial.require(descend(600 * KiB) == 0, "the stack of the parent is intact");
      trial.require(contents.changed() == 0, "what lay there before the fork is intact");
      status = child < 0 ? no_process : trial.status_of(child);
    });
  });
  require_intact(status, trial);
  end_as(status);
}

[[gnu::noinline]] int status_of_vforked(const Trial& trial) {
  const pid_t child = vfork();
  if (child == 0) {
    _exit(descend(300 * KiB) == 0 ? intact : 1);
  }
  return child < 0 ? no_process : trial.status_of(child);
}

void vforked(const Traits& of, const Trial& trial) {
  Stack stack(options_of(of));
  go_deep(stack, 50 * KiB, trial);
  int status = no_process;
  trial.watch([&] {
    call(stack, [&] {
      std::array<unsigned char, 20 * KiB> before;
      const Contents contents(before.data(), before.size());
      status = status_of_vforked(trial);
      trial.require(descend(600 * KiB) == 0, "the stack of the parent is intact");
      trial.require(contents.changed() == 0, "what lay there before the vfork is intact");
    });
  });
  require_intact(status, trial);
  end_as(status);
}

}  // namespace

FAILURES("a forked child", forked);
FAILURES("a vforked child", vforked, "", UINT_MAX, true);
