#include "promises/worker.hpp"

#include "run/child.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace growstack::compare::promises {
namespace {

[[noreturn]] void work(const std::function<nlohmann::json()>& body, const Scratch& out,
                       const Scratch& err) {
  constexpr int cannot_tell = 126;
  nlohmann::json said;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || dup2(err.descriptor(), STDERR_FILENO) < 0) {
    _exit(cannot_tell);
  }
  try {
    said["said"] = body();
  } catch (const std::exception& error) {
    said["failure"] = error.what();
  }
  const std::string text = said.dump();
  _exit(write(out.descriptor(), text.data(), text.size()) == static_cast<ssize_t>(text.size())
            ? 0
            : cannot_tell);
}

}  // namespace

std::string Fate::word() const {
  return !killer.empty()   ? killer
         : hung            ? "hangs"
         : failure.empty() ? "exit " + std::to_string(exit_code)
                           : "fails";
}

Fate in_worker(const std::function<nlohmann::json()>& body, std::chrono::milliseconds patience) {
  const Scratch out("worker's answer");
  const Scratch err("worker's errors");
  const pid_t worker = fork();
  require(worker >= 0, "fork");
  if (worker == 0) {
    work(body, out, err);
  }
  const std::optional<int> status = status_within(worker, patience);
  Fate fate{.hung = !status, .errors = err.text()};
  if (status && WIFSIGNALED(*status)) {
    fate.killer = signal_name(WTERMSIG(*status));
  } else if (status) {
    fate.exit_code = WEXITSTATUS(*status);
    const nlohmann::json told = nlohmann::json::parse(out.text(), nullptr, false);
    fate.said = told.is_object() ? told.value("said", nlohmann::json()) : nlohmann::json();
    fate.failure = told.is_object() ? told.value("failure", "") : "";
  }
  return fate;
}

}  // namespace growstack::compare::promises
