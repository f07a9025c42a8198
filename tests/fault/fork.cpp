// Children. After fork(2) the child has stacks but no helper thread, and its descriptors are those
// of the parent's pipe.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/forked.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

const StackOptions options{.reserve = 64 * MiB, .name = "forked"};

/// Returns the size of the file that a descriptor stands for.
std::size_t file_size(int descriptor) {
  return static_cast<std::size_t>(lseek(descriptor, 0, SEEK_END));
}

int empty_file() {
  std::FILE* const file = std::tmpfile();
  return fileno(file);
}

}  // namespace

TEST_CASE("a child that is forked on a stack runs there, and cannot trim what it uses") {
  Stack stack(options);
  const int end = call(stack, [&] {
    return end_of_child([&] { return stack.trim() == std::errc::device_or_resource_busy ? 7 : 1; });
  });
  CHECK(end == 7);
}

GROWSTACK_SCENARIO("a child grows a stack of its parent's") {
  Stack stack(options);
  const auto before = handler::counters();
  const int child = exit_code_of_child([&] {
    const bool grew = call(stack, [] { return recurse(deep); }) == deep;
    const auto after = handler::counters();
    // The child has no helper. It served itself, and waited for nobody.
    return grew && after.helper_missing > before.helper_missing &&
                   after.by_helper == before.by_helper
               ? 7
               : 1;
  });
  // The parent's memory is as it was.
  return child == 7 && stack.committed() == options.policy.initial_commit &&
                 handler::counters().growth == before.growth
             ? 7
             : 1;
}

TEST_CASE("a forked child grows its copy of a stack by itself, and does not touch the parent's") {
  CHECK(run_scenario("a child grows a stack of its parent's").exit_code == 7);
}

GROWSTACK_SCENARIO("a child ends a stack of its parent's") {
  auto stack = std::make_unique<Stack>(StackOptions{.strategy = Strategy::in_handler});
  return exit_code_of_child([&] {
    call(*stack, [] { return recurse(deep); });
    stack.reset();
    return thread_count() == 1 ? 7 : 1;
  });
}

TEST_CASE("a forked child that only uses and ends what it inherited gets no thread of ours") {
  if (sanitized) {
    return skip("a sanitizer may have a thread of its own");
  }
  CHECK(run_scenario("a child ends a stack of its parent's").exit_code == 7);
}

GROWSTACK_SCENARIO("a child makes a stack") {
  Stack first(options);
  return exit_code_of_child([] {
    Stack stack(options);  // starts a helper of the child's own
    const auto before = handler::counters();
    const bool grew = call(stack, [] { return recurse(deep); }) == deep;
    const auto after = handler::counters();
    const bool by_helper =
        after.by_helper > before.by_helper && after.helper_missing == before.helper_missing;
    return grew && by_helper &&
                   exit_code_of_child([] {
                     return call(options, [] { return recurse(deep) == deep ? 7 : 1; });
                   }) == 7
               ? 7
               : 1;
  });
}

TEST_CASE("a child that makes a stack gets a helper of its own, and so does its own child") {
  CHECK(run_scenario("a child makes a stack").exit_code == 7);
}

GROWSTACK_SCENARIO("fork from a growable stack") {
  return call(options, [] {
    recurse(1000);
    const int child = exit_code_of_child([] { return recurse(deep) == deep ? 7 : 1; });
    return recurse(deep) == deep ? child : 1;
  });
}

TEST_CASE("a fork from a growable stack leaves two processes that both go on growing it") {
  CHECK(run_scenario("fork from a growable stack").exit_code == 7);
}

GROWSTACK_SCENARIO("fork by the bare system call") {
  // It runs no pthread_atfork handlers.
  Stack stack(options);
  const auto child = static_cast<pid_t>(syscall(SYS_fork));
  if (child == 0) {
    alarm(30);
    _exit(call(stack, [] { return recurse(deep); }) == deep ? 7 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

TEST_CASE(
    "a child of a bare fork system call is recognised, although no pthread_atfork handler ran") {
  CHECK(run_scenario("fork by the bare system call").exit_code == 7);
}

GROWSTACK_SCENARIO("fork while others grow and make stacks") {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int index = 0; index < 3; ++index) {
    threads.emplace_back([&] {
      while (!stop) {
        call(options, [] { recurse(2000); });
      }
    });
  }
  int bad = 0;
  for (int round = 0; round < 100; ++round) {
    bad += exit_code_of_child(
               [] { return call(options, [] { return recurse(2000); }) == 2000 ? 7 : 1; }) == 7
               ? 0
               : 1;
  }
  stop = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  return bad == 0 ? 7 : 1;
}

TEST_CASE(
    "a child that is forked while other threads fault, make and release stacks inherits no lock "
    "and no pin of theirs") {
  if (under_address_sanitizer) {
    skip("AddressSanitizer's allocator may be left locked in the child");
    return;
  }
  CHECK(run_scenario("fork while others grow and make stacks").exit_code == 7);
}

// ---- descriptors --------------------------------------------------------------------------------

GROWSTACK_SCENARIO("all descriptors closed") {
  Stack stack(options);
  call(stack, [] { recurse(100); });
  if (close_range(3, ~0U, 0) != 0) {
    return 1;
  }
  const bool grew = call(stack, [] { return recurse(deep); }) == deep;
  const bool counted = handler::counters().helper_missing > 0;
  // The next stack starts a new helper with a new pipe.
  const auto before = handler::counters().by_helper;
  const bool again = call(options, [] { return recurse(deep); }) == deep;
  return grew && counted && again && handler::counters().by_helper > before ? 7 : 1;
}

TEST_CASE(
    "a program that closes all descriptors keeps its stacks growing, "
    "and the next stack brings the helper back") {
  CHECK(run_scenario("all descriptors closed").exit_code == 7);
}

GROWSTACK_SCENARIO("descriptors reused for a file") {
  Stack stack(options);
  call(stack, [] { recurse(100); });
  const int file = empty_file();
  for (int descriptor = 3; descriptor < 64; ++descriptor) {
    if (descriptor != file && fcntl(descriptor, F_GETFD) != -1 &&
        dup2(file, descriptor) != descriptor) {
      return 1;
    }
  }
  const bool grew = call(stack, [] { return recurse(deep); }) == deep;
  return grew && file_size(file) == 0 ? 7 : 1;
}

TEST_CASE("no byte is written into a descriptor that was ours and is now a file") {
  CHECK(run_scenario("descriptors reused for a file").exit_code == 7);
}

GROWSTACK_SCENARIO("descriptors reused for another pipe") {
  Stack stack(options);
  call(stack, [] { recurse(100); });
  int theirs[2];
  if (pipe2(theirs, O_NONBLOCK) != 0) {
    return 1;
  }
  for (int descriptor = 3; descriptor < 64; ++descriptor) {
    if (descriptor != theirs[0] && descriptor != theirs[1] && fcntl(descriptor, F_GETFD) != -1 &&
        dup2(theirs[1], descriptor) != descriptor) {
      return 1;
    }
  }
  const bool grew = call(stack, [] { return recurse(deep); }) == deep;
  char byte = 0;
  return grew && read(theirs[0], &byte, 1) == -1 ? 7 : 1;
}

TEST_CASE("no byte is written into a descriptor that was ours and is now another pipe") {
  CHECK(run_scenario("descriptors reused for another pipe").exit_code == 7);
}

GROWSTACK_SCENARIO("daemon") {
  // As daemons do: fork twice, close everything, and go on in the grandchild with stacks that were
  // made before.
  Stack stack(options);
  return exit_code_of_child([&] {
    setsid();
    return exit_code_of_child([&] {
      close_range(0, ~0U, 0);
      const bool grew = call(stack, [] { return recurse(deep); }) == deep;
      return grew && call(options, [] { return recurse(deep); }) == deep ? 7 : 1;
    });
  });
}

TEST_CASE("a daemon that forks twice and closes everything keeps its stacks") {
  CHECK(run_scenario("daemon").exit_code == 7);
}

namespace {

/// Returns what the descriptors of this process stand for, as far as it is of this kind.
std::multiset<std::string> open_files(const std::string& kind) {
  std::multiset<std::string> found;
  for (int descriptor = 0; descriptor < 100; ++descriptor) {
    std::array<char, 64> target{};
    const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
    if (readlink(link.c_str(), target.data(), target.size() - 1) > 0 &&
        std::string(target.data()).starts_with(kind)) {
      found.insert(target.data());
    }
  }
  return found;
}

std::vector<Strategy> strategies_with_descriptors() {
  std::vector<Strategy> all{Strategy::pipe_helper};
  for (const Strategy strategy : {Strategy::userfault_signal, Strategy::userfault}) {
    if (supported(strategy)) {
      all.push_back(strategy);
    }
  }
  return all;
}

/// Makes stacks that need descriptors, and forks, and so does the child, until there were so many
/// generations. Returns 7 if no child has a descriptor of its parent's.
int generations_are_apart(int more, const std::multiset<std::string>& pipes_of_the_program) {
  std::vector<Stack> stacks;
  for (const Strategy strategy : strategies_with_descriptors()) {
    stacks.emplace_back(StackOptions{.reserve = MiB, .strategy = strategy});
    call(stacks.back(), [] { recurse(2000); });
  }
  if (more == 0) {
    return 7;
  }
  return exit_code_of_child([&] {
    // What userfault_signal watches, a child watches by one of its own.
    const std::size_t of_its_own = supported(Strategy::userfault_signal) ? 1 : 0;
    if (open_files("pipe:") != pipes_of_the_program) {
      return 1;
    }
    if (open_files("anon_inode:[userfaultfd]").size() != of_its_own) {
      return 2;
    }
    return generations_are_apart(more - 1, pipes_of_the_program);
  });
}

}  // namespace

GROWSTACK_SCENARIO("three generations") { return generations_are_apart(3, open_files("pipe:")); }

TEST_CASE("a forked child has neither the request pipe of its parent nor its userfaultfds") {
  CHECK(run_scenario("three generations").exit_code == 7);
}

GROWSTACK_SCENARIO("three generations without stacks of their own") {
  const std::multiset<std::string> pipes = open_files("pipe:");
  std::vector<Stack> stacks;
  for (const Strategy strategy : strategies_with_descriptors()) {
    stacks.emplace_back(StackOptions{.reserve = MiB, .strategy = strategy});
  }
  const std::size_t most = supported(Strategy::userfault_signal) ? 1 : 0;
  const auto is_apart = [&] {
    return open_files("pipe:") == pipes && open_files("anon_inode:[userfaultfd]").size() == most;
  };
  return exit_code_of_child([&] {
    const bool child = is_apart();
    return exit_code_of_child([&] {
      const bool grandchild = is_apart();
      return exit_code_of_child([&] { return child && grandchild && is_apart() ? 7 : 1; });
    });
  });
}

TEST_CASE("descriptors do not pile up in a process that forks and lets its child go on") {
  CHECK(run_scenario("three generations without stacks of their own").exit_code == 7);
}
