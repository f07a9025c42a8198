#include "run/child.hpp"

#include "parts/errors.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>

namespace growstack::compare {
namespace {

constexpr const char* child_mark = "--child";

/// Runs in the child between fork and exec. The terminal moves to another descriptor, because
/// standard error becomes a file.
[[noreturn]] void become_child(const char* task, const std::string& request, int terminal,
                               const Scratch& out, const Scratch& err) {
  constexpr int exec_failed = 127;
  const int kept_terminal = terminal < 0 ? -1 : fcntl(terminal, F_DUPFD, STDERR_FILENO + 1);
  const bool ready = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                     dup2(out.descriptor(), STDOUT_FILENO) >= 0 &&
                     dup2(err.descriptor(), STDERR_FILENO) >= 0;
  if (ready) {
    execl("/proc/self/exe", "growstack_compare", child_mark, task, request.c_str(),
          std::to_string(kept_terminal).c_str(), nullptr);
  }
  _exit(exec_failed);
}

/// Returns false if the child took too long and was killed.
bool ended_in_time(pid_t child, std::chrono::milliseconds patience) {
  // Calls it by its number, because glibc 2.36 declares pidfd_open wrongly for C++.
  const auto process = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  bench::require(process >= 0, "pidfd_open");
  pollfd ended{.fd = process, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&ended, 1, static_cast<int>(patience.count()));
  } while (ready < 0 && errno == EINTR);
  close(process);
  if (ready > 0) {
    return true;
  }
  kill(child, SIGKILL);
  return false;
}

int status_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    bench::require(errno == EINTR, "waitpid");
  }
  return status;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

Answer read_answer(int status, const std::string& out, const std::string& err) {
  if (WIFSIGNALED(status)) {
    return {.failure = "killed by " + signal_name(WTERMSIG(status)),
            .last_words = first_line(err),
            .died = true};
  }
  nlohmann::json answer = nlohmann::json::parse(out, nullptr, false);
  if (WEXITSTATUS(status) != 0 || answer.is_discarded()) {
    return {.failure = fmt::format("exited with {}", WEXITSTATUS(status)),
            .last_words = first_line(err)};
  }
  if (answer.contains("failure")) {
    return {.failure = answer.at("failure").get<std::string>(), .last_words = first_line(err)};
  }
  return {.result = std::move(answer.at("result"))};
}

nlohmann::json answer(const Task& task, const char* request, int terminal) {
  Progress progress(terminal);
  try {
    return {{"result", task.answer(nlohmann::json::parse(request), progress)}};
  } catch (const std::exception& error) {
    return {{"failure", error.what()}};
  }
}

}  // namespace

Scratch::Scratch(const char* name) : descriptor_(memfd_create(name, MFD_CLOEXEC)) {
  bench::require(descriptor_ >= 0, "memfd_create");
}

Scratch::~Scratch() { close(descriptor_); }

std::string Scratch::text() const {
  std::string all(static_cast<std::size_t>(lseek(descriptor_, 0, SEEK_END)), '\0');
  bench::require(pread(descriptor_, all.data(), all.size(), 0) == static_cast<ssize_t>(all.size()),
                 "pread");
  return all;
}

std::optional<int> status_within(pid_t child, std::chrono::milliseconds patience) {
  const bool in_time = ended_in_time(child, patience);
  const int status = status_of(child);
  return in_time ? std::optional(status) : std::nullopt;
}

std::string signal_name(int signal) {
  const char* const name = sigabbrev_np(signal);
  return name == nullptr ? std::to_string(signal) : "SIG" + std::string(name);
}

Answer ask_child(const char* task, const nlohmann::json& request, const Progress& progress,
                 std::chrono::milliseconds patience) {
  const Scratch out("answer");
  const Scratch err("errors");
  const std::string text = request.dump();
  const pid_t child = fork();
  bench::require(child >= 0, "fork");
  if (child == 0) {
    become_child(task, text, progress.terminal(), out, err);
  }
  const std::optional<int> status = status_within(child, patience);
  if (!status) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
    return {.failure = fmt::format("did not end within {} s", seconds.count()),
            .last_words = first_line(err.text())};
  }
  return read_answer(*status, out.text(), err.text());
}

bool serve_as_child(int argc, char** argv, std::span<const Task> tasks, int& exit_code) {
  if (argc != 5 || argv[1] != std::string_view(child_mark)) {
    return false;
  }
  const rlimit no_core{};  // a child that dies is a result here
  exit_code = EXIT_FAILURE;
  if (setrlimit(RLIMIT_CORE, &no_core) != 0 || prctl(PR_SET_NAME, "compare") != 0) {
    return true;
  }
  for (const Task& task : tasks) {
    if (std::string_view(argv[2]) == task.name) {
      const std::string text = answer(task, argv[3], std::atoi(argv[4])).dump();
      const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
      exit_code = written ? EXIT_SUCCESS : EXIT_FAILURE;
    }
  }
  return true;
}

}  // namespace growstack::compare
