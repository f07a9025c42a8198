// A forked child, for what exec would take away.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace growstack::testing {

/// How a forked child ends that runs body(): its exit code, or 1000 and the signal that killed it.
template <class Body>
int end_of_child(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/// The same for who makes an exit code of it, which has 8 bits: 255 for any signal.
template <class Body>
int exit_code_of_child(const Body& body) {
  const int end = end_of_child(body);
  return end < 1000 ? end : 255;
}

/// Gives up every privilege: false if that is not possible.
inline bool become_nobody() {
  constexpr uid_t nobody = 65534;
  return setresgid(nobody, nobody, nobody) == 0 && setresuid(nobody, nobody, nobody) == 0;
}

}  // namespace growstack::testing
