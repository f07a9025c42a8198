#include "run/child.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>
#include <system_error>

namespace growstack::compare {
namespace {

constexpr std::string_view child_mark = "--child";

[[noreturn]] void fail(const char* call) {
  throw std::system_error(errno, std::generic_category(), call);
}

/// Between fork and exec. The terminal moves to another descriptor, out of the way of the child's
/// standard error.
[[noreturn]] void become_child(const char* task, const std::string& request, int terminal,
                               const Scratch& out, const Scratch& err) {
  constexpr int exec_failed = 127;
  const int kept_terminal = terminal < 0 ? -1 : fcntl(terminal, F_DUPFD, STDERR_FILENO + 1);
  const bool ready = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                     dup2(out.descriptor(), STDOUT_FILENO) >= 0 &&
                     dup2(err.descriptor(), STDERR_FILENO) >= 0;
  if (ready) {
    const std::string mark(child_mark);
    const std::string descriptor = std::to_string(kept_terminal);
    execl("/proc/self/exe", "growstack_compare", mark.c_str(), task, request.c_str(),
          descriptor.c_str(), nullptr);
  }
  _exit(exec_failed);
}

/// False if it took too long and was killed.
bool ended_in_time(pid_t child, std::chrono::milliseconds patience) {
  const auto process = static_cast<int>(
      syscall(SYS_pidfd_open, child, 0));  // glibc 2.36 declares it wrongly for C++
  if (process < 0) {
    fail("pidfd_open");
  }
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
    if (errno != EINTR) {
      fail("waitpid");
    }
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
    return {.failure = answer.at("failure").get<std::string>()};
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
  if (descriptor_ < 0) {
    fail("memfd_create");
  }
}

Scratch::~Scratch() { close(descriptor_); }

std::string Scratch::text() const {
  std::string all;
  std::array<char, 4096> part;
  for (;;) {
    const ssize_t bytes =
        pread(descriptor_, part.data(), part.size(), static_cast<off_t>(all.size()));
    if (bytes < 0) {
      fail("pread");
    }
    if (bytes == 0) {
      return all;
    }
    all.append(part.data(), static_cast<std::size_t>(bytes));
  }
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
  if (child < 0) {
    fail("fork");
  }
  if (child == 0) {
    become_child(task, text, progress.terminal(), out, err);
  }
  const std::optional<int> status = status_within(child, patience);
  if (!status) {
    return {
        .failure = fmt::format("did not end within {} s",
                               std::chrono::duration_cast<std::chrono::seconds>(patience).count()),
        .last_words = first_line(err.text())};
  }
  return read_answer(*status, out.text(), err.text());
}

bool serve_as_child(int argc, char** argv, std::span<const Task> tasks, int& exit_code) {
  if (argc != 5 || argv[1] != child_mark) {
    return false;
  }
  const rlimit no_core{};  // dying is a result here
  exit_code = EXIT_FAILURE;
  if (setrlimit(RLIMIT_CORE, &no_core) != 0 || prctl(PR_SET_NAME, "compare") != 0) {
    return true;
  }
  for (const Task& task : tasks) {
    if (std::string_view(argv[2]) == task.name) {
      const std::string text = answer(task, argv[3], std::atoi(argv[4])).dump();
      exit_code = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
                          std::fflush(stdout) == 0
                      ? EXIT_SUCCESS
                      : EXIT_FAILURE;
    }
  }
  return true;
}

}  // namespace growstack::compare
