// A forked child, which has what exec would take away: a copy of the memory and of the signal
// handlers.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

namespace growstack::testing {

/// Returns what end_of_child() says of a child that a signal killed.
constexpr int killed_by(int signal) { return 1000 + signal; }

/// Runs body() in a forked child and returns how the child ended: its exit code, which is what
/// body() returns, or killed_by() of a signal. A child that hangs is killed by SIGALRM.
template <class Body>
int end_of_child(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    try {
      _exit(body());
    } catch (const std::exception& error) {  // it must not reach the test, or the child would go on
      std::fprintf(stderr, "in the child: %s\n", error.what());
      _exit(99);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : killed_by(WTERMSIG(status));
}

/// Returns end_of_child() as an exit code, which has 8 bits: 255 stands for every signal.
template <class Body>
int exit_code_of_child(const Body& body) {
  const int end = end_of_child(body);
  return end < killed_by(0) ? end : 255;
}

}  // namespace growstack::testing
