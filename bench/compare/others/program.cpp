#include "others/program.hpp"

#include "parts/errors.hpp"
#include "subjects/subject.hpp"

#include <growstack/growstack.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <stdexcept>
#include <thread>
#include <vector>

namespace growstack::compare {
namespace {

constexpr std::size_t live_stacks = 200;

[[gnu::noinline]] void grow() {
  char space[96 * 1024];
  space[0] = 1;
  asm volatile("" : : "r"(space) : "memory");
}

std::vector<Stack> stacks_that_have_grown(const std::string& strategy) {
  std::vector<Stack> all;
  for (std::size_t each = 0; each < live_stacks; ++each) {
    all.emplace_back(StackOptions{.reserve = 1 << 20, .strategy = strategy_named(strategy)});
    call(all.back(), grow);
  }
  return all;
}

struct Ends {
  int read = -1;
  int write = -1;
};

Ends make_pipe() {
  std::array<int, 2> ends{};
  bench::require(pipe2(ends.data(), O_CLOEXEC) == 0, "pipe2");
  return {.read = ends[0], .write = ends[1]};
}

/// Works whenever it is asked to, until nobody asks any more.
void serve(Work work, int requests, int answers) {
  unsigned times = 0;
  while (read(requests, &times, sizeof times) == sizeof times) {
    const double nanoseconds = work(times);
    if (write(answers, &nanoseconds, sizeof nanoseconds) != sizeof nanoseconds) {
      return;
    }
  }
}

/// Closes all descriptors but the standard ones and these two. Otherwise this process would keep
/// the pipes of others open, which then could not tell that the one at the other end has gone.
Ends keep_only(Ends ends) {
  constexpr int first = STDERR_FILENO + 1;
  const int read = fcntl(ends.read, F_DUPFD, first + 2);
  const int write = fcntl(ends.write, F_DUPFD, first + 2);
  const bool kept = read >= 0 && write >= 0 && dup2(read, first) == first &&
                    dup2(write, first + 1) == first + 1 && close_range(first + 2, ~0U, 0) == 0;
  return kept ? Ends{.read = first, .write = first + 1} : Ends{};
}

/// Another thread does the work. This one makes the stacks, which live as long.
[[noreturn]] void be_program(Work work, const std::optional<std::string>& strategy, int requests,
                             int answers) {
  try {
    const std::vector<Stack> stacks =
        strategy ? stacks_that_have_grown(*strategy) : std::vector<Stack>();
    std::thread(serve, work, requests, answers).join();
  } catch (const std::exception&) {
    _exit(1);  // who asks finds nobody
  }
  _exit(0);
}

}  // namespace

Program::Program(Work work, const std::optional<std::string>& strategy) {
  const Ends requests = make_pipe();
  const Ends answers = make_pipe();
  process_ = fork();
  bench::require(process_ >= 0, "fork");
  if (process_ == 0) {
    const Ends own = keep_only({.read = requests.read, .write = answers.write});
    be_program(work, strategy, own.read, own.write);
  }
  close(requests.read);
  close(answers.write);
  to_ = requests.write;
  from_ = answers.read;
}

Program::~Program() {
  close(to_);
  close(from_);
  waitpid(process_, nullptr, 0);
}

double Program::time(unsigned times) const {
  double nanoseconds = 0;
  // A program that has died reads nothing. SIGPIPE must not end this one.
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  const bool answered = write(to_, &times, sizeof times) == sizeof times &&
                        read(from_, &nanoseconds, sizeof nanoseconds) == sizeof nanoseconds;
  std::signal(SIGPIPE, before);
  if (!answered) {
    throw std::runtime_error("the program has died");
  }
  return nanoseconds;
}

}  // namespace growstack::compare
