#include "support/scenario.hpp"
#include "support/limits.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <regex>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace growstack::testing {
namespace {

constexpr std::string_view option = "--scenario=";

bool was_skipped = false;

std::map<std::string, int (*)()>& scenarios() {
  static std::map<std::string, int (*)()> all;
  return all;
}

struct Pipe {
  Pipe() {
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw std::system_error(errno, std::generic_category(), "pipe2");
    }
  }
  std::array<int, 2> ends{};
};

/// Reads both pipes until end-of-file or the deadline. Returns whether end-of-file came first.
bool collect(Pipe& out, Pipe& err, Ended& ended, std::chrono::steady_clock::time_point deadline) {
  std::array<pollfd, 2> sources{{{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}}};
  const std::array<std::string*, 2> texts{&ended.out, &ended.err};
  int open = 2;
  while (open > 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      return false;
    }
    poll(sources.data(), sources.size(), static_cast<int>(left.count()));
    for (std::size_t index = 0; index < sources.size(); ++index) {
      if (sources[index].fd >= 0 && sources[index].revents != 0) {
        std::array<char, 4096> buffer;
        const ssize_t bytes = read(sources[index].fd, buffer.data(), buffer.size());
        if (bytes > 0) {
          texts[index]->append(buffer.data(), static_cast<std::size_t>(bytes));
        } else {
          sources[index].fd = -1;
          --open;
        }
      }
    }
  }
  return true;
}

[[noreturn]] void become(const char* file, const std::vector<std::string>& words, const Pipe& out,
                         const Pipe& err) {
  dup2(out.ends[1], STDOUT_FILENO);
  dup2(err.ends[1], STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : words) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  execvp(file, arguments.data());
  _exit(127);
}

Ended run(const char* file, const std::vector<std::string>& words, std::chrono::seconds patience) {
  Pipe out;
  Pipe err;
  const pid_t child = fork();
  if (child == 0) {
    become(file, words, out, err);
  }
  close(out.ends[1]);
  close(err.ends[1]);
  Ended ended;
  if (!collect(out, err, ended, std::chrono::steady_clock::now() + patience)) {
    ended.timed_out = true;
    kill(child, SIGKILL);
  }
  close(out.ends[0]);
  close(err.ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) {
    ended.exit_code = WEXITSTATUS(status);
  } else {
    ended.signal = WTERMSIG(status);
    ended.dumped_core = WCOREDUMP(status);
  }
  return ended;
}

}  // namespace

Scenario::Scenario(const char* name, int (*body)()) {
  if (!scenarios().emplace(name, body).second) {
    throw std::logic_error(std::string("two scenarios of the name ") + name);
  }
}

Ended run_scenario(const std::string& name, std::chrono::seconds patience) {
  if (!scenarios().contains(name)) {
    throw std::logic_error("no scenario of the name " + name);
  }
  return run("/proc/self/exe", {"scenario", std::string(option) + name}, patience);
}

Ended run_program(const std::vector<std::string>& words, std::chrono::seconds patience) {
  return run(words.front().c_str(), words, patience);
}

void no_core() { set_both_limits(RLIMIT_CORE, 0); }

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool matches(const std::string& text, const std::string& pattern) {
  return std::regex_search(text, std::regex(pattern));
}

void require(bool fulfilled, const std::string& what) {
  if (!fulfilled) {
    std::fprintf(stderr, "NOT FULFILLED: %s\n", what.c_str());
    std::exit(101);
  }
}

int run_requested_scenario(int argc, char** argv) {
  if (argc != 2 || !std::string_view(argv[1]).starts_with(option)) {
    return -1;
  }
  const auto found = scenarios().find(argv[1] + option.size());
  if (found == scenarios().end()) {
    std::fprintf(stderr, "no such scenario: %s\n", argv[1]);
    return 126;
  }
  const int result = found->second();
  std::fflush(nullptr);
  return result;
}

void skip(const std::string& reason) {
  was_skipped = true;
  std::printf("SKIPPED: %s\n", reason.c_str());
}

bool skipped() { return was_skipped; }

}  // namespace growstack::testing
