// The helper thread: the program that it serves does not see it, and cannot be hung by it.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "anywhere/processors.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

const StackOptions options{.reserve = 64 * MiB, .name = "served"};

/// Returns the names of the entries of a directory, except those that begin with a dot.
std::set<std::string> entries(const std::string& path) {
  std::set<std::string> names;
  DIR* const directory = opendir(path.c_str());
  if (directory == nullptr) {
    return names;
  }
  while (const dirent* const entry = readdir(directory)) {
    if (entry->d_name[0] != '.') {
      names.insert(entry->d_name);
    }
  }
  closedir(directory);
  return names;
}

/// Returns the id of the thread that has this name now. Empty if there is none.
std::string find_thread(const std::string& name) {
  for (const std::string& id : entries("/proc/self/task")) {
    std::ifstream file("/proc/self/task/" + id + "/comm");
    std::string found;
    if (std::getline(file, found) && found == name) {
      return id;
    }
  }
  return {};
}

/// Waits for a thread of this name, because a thread names itself some time after its start.
/// Returns its id, or nothing if that takes too long.
std::string thread_with_name(const std::string& name) {
  constexpr int most_tries = 5000;
  std::string id = find_thread(name);
  for (int tries = 0; id.empty() && tries < most_tries; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    id = find_thread(name);
  }
  return id;
}

/// Returns the value of a field of a thread's status (proc_pid_status(5)).
std::string status_of(const std::string& thread, const std::string& field) {
  std::ifstream file("/proc/self/task/" + thread + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field + ":")) {
      return line.substr(line.find_first_not_of(" \t", field.size() + 1));
    }
  }
  return {};
}

/// Makes this thread a real-time thread. Fails with EPERM without the privilege.
bool become_real_time(int priority) {
  const sched_param parameters{.sched_priority = priority};
  return sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
}

/// A real-time thread of the lowest priority that never rests, on the processors of the thread that
/// made it.
class BusyThread {
 public:
  BusyThread()
      : thread_([this] {
          become_real_time(1);
          while (!stop_) {
          }
        }) {}
  ~BusyThread() {
    stop_ = true;
    thread_.join();
  }
  BusyThread(const BusyThread&) = delete;
  BusyThread& operator=(const BusyThread&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

cpu_set_t own_processors() {
  cpu_set_t processors;
  sched_getaffinity(0, sizeof processors, &processors);
  return processors;
}

cpu_set_t only(int processor) {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  CPU_SET(static_cast<std::size_t>(processor), &processors);
  return processors;
}

}  // namespace

GROWSTACK_SCENARIO("helper's signals") {
  Stack stack(options);
  for (const char* const name : {"stack-helper", "stack-symbols"}) {
    const std::string thread = thread_with_name(name);
    if (thread.empty()) {
      return 1;
    }
    const std::uint64_t blocked = std::stoull(status_of(thread, "SigBlk"), nullptr, 16);
    for (int signal = 1; signal < 65; ++signal) {
      const bool never_blocked =
          signal == SIGKILL || signal == SIGSTOP || signal == 32 || signal == 33;  // libc's own
      if (!never_blocked && (blocked >> static_cast<unsigned>(signal - 1) & 1U) == 0) {
        return 2;
      }
    }
  }
  return 7;
}

TEST_CASE(
    "helper and symbolizer block every signal, "
    "so that the program's signals go to the program's threads") {
  CHECK(run_scenario("helper's signals").exit_code == 7);
}

GROWSTACK_SCENARIO("helper's descriptors") {
  const int theirs = open("/dev/null", O_RDONLY);
  Stack stack(options);
  const std::string helper = thread_with_name("stack-helper");
  const std::set<std::string> descriptors = entries("/proc/self/task/" + helper + "/fd");
  close(theirs);
  if (descriptors.size() != 1) {
    return 1;
  }
  struct stat only {};
  const std::string path = "/proc/self/task/" + helper + "/fd/" + *descriptors.begin();
  return stat(path.c_str(), &only) == 0 && S_ISFIFO(only.st_mode) ? 7 : 2;
}

TEST_CASE(
    "the helper has nothing open except its end of the pipe, so it keeps no file of the program "
    "open") {
  CHECK(run_scenario("helper's descriptors").exit_code == 7);
}

GROWSTACK_SCENARIO("helper started by a pinned thread") {
  const cpu_set_t all = own_processors();
  const cpu_set_t one = only(0);
  if (CPU_COUNT(&all) < 2 || !CPU_ISSET(0, &all)) {
    return 8;
  }
  sched_setaffinity(0, sizeof one, &one);
  Stack stack(options);
  cpu_set_t seen;
  sched_getaffinity(std::stoi(thread_with_name("stack-helper")), sizeof seen, &seen);
  return CPU_EQUAL(&seen, &all) ? 7 : 1;
}

TEST_CASE("the helper may run on every processor although the thread that started it may not") {
  const Ended ended = run_scenario("helper started by a pinned thread");
  if (ended.exit_code == 8) {
    skip("needs two processors");
    return;
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("helper comes along") {
  const cpu_set_t all = own_processors();
  if (CPU_COUNT(&all) < 2) {
    return 8;
  }
  Stack stack(options);
  const int helper = std::stoi(thread_with_name("stack-helper"));
  int visited = 0;
  for (int processor = 0; processor < CPU_SETSIZE && visited < 4; ++processor) {
    const cpu_set_t one = only(processor);
    if (!CPU_ISSET(processor, &all) || sched_setaffinity(0, sizeof one, &one) != 0) {
      continue;
    }
    ++visited;
    const bool grew = call(stack, [] { return recurse(2000); }) == 2000;
    cpu_set_t seen;
    sched_getaffinity(helper, sizeof seen, &seen);
    if (!grew || !CPU_EQUAL(&seen, &one) || stack.trim()) {
      return 1;
    }
  }
  return handler::counters().helper_missing == 0 ? 7 : 2;
}

TEST_CASE("the helper comes to the processor of the thread that faults") {
  const Ended ended = run_scenario("helper comes along");
  if (ended.exit_code == 8) {
    skip("needs two processors");
    return;
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("helper may not be moved") {
  InjectedError::for_good().refuse(SYS_sched_setaffinity, EPERM);
  Stack stack(options);
  const bool grew = call(stack, [] { return recurse(2000); }) == 2000;
  return grew && handler::counters().helper_missing == 0 ? 7 : 2;
}

TEST_CASE("a helper that may not be moved serves from the processor where it is") {
  CHECK(run_scenario("helper may not be moved").exit_code == 7);
}

GROWSTACK_SCENARIO("a forked child uninstalls") {
  if (handler::install() != 0 || handler::start_helper() != 0) {
    return 1;
  }
  const std::string helper = thread_with_name("stack-helper");
  const int child = exit_code_of_child([] { return handler::uninstall() == 0 ? 7 : 1; });
  usleep(100'000);
  return child == 7 && find_thread("stack-helper") == helper ? 7 : 2;
}

TEST_CASE("a forked child that uninstalls does not end its parent's helper") {
  CHECK(run_scenario("a forked child uninstalls").exit_code == 7);
}

GROWSTACK_SCENARIO("started by a real-time thread") {
  if (!become_real_time(1)) {
    return errno == EPERM ? 8 : 1;
  }
  Stack stack(options);
  return sched_getscheduler(std::stoi(thread_with_name("stack-helper"))) == SCHED_OTHER ? 7 : 2;
}

TEST_CASE("the helper has the default scheduling policy although a real-time thread started it") {
  const Ended ended = run_scenario("started by a real-time thread");
  if (ended.exit_code == 8) {
    skip("needs the privilege to use SCHED_FIFO");
    return;
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("no scheduling calls") {
  InjectedError injected = InjectedError::for_good();
  for (const long call : {SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_getscheduler,
                          SYS_sched_setattr, SYS_sched_getattr, SYS_sched_setaffinity}) {
    injected.refuse(call, EPERM);
  }
  Stack stack(options);
  return call(stack, [] { return recurse(2000); }) == 2000 && handler::counters().by_helper > 0 ? 7
                                                                                                : 1;
}

TEST_CASE("a filter that refuses every call about scheduling leaves the library usable") {
  CHECK(run_scenario("no scheduling calls").exit_code == 7);
}

GROWSTACK_SCENARIO("started by an idle thread") {
  const sched_param parameters{};
  if (sched_setscheduler(0, SCHED_IDLE, &parameters) != 0 || !become_nobody()) {
    return 8;
  }
  Stack stack(options);
  return call(stack, [] { return recurse(2000); }) == 2000 ? 7 : 1;
}

TEST_CASE("a thread with the policy SCHED_IDLE, and no privilege, can make stacks") {
  const Ended ended = run_scenario("started by an idle thread");
  if (ended.exit_code == 8) {
    skip("privileges cannot be given up here");
    return;
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("helper gets no processor") {
  // The helper may use one processor, and a real-time thread keeps this one busy. Only the faulting
  // thread has a higher priority and can run there.
  Stack stack(options);
  const cpu_set_t one = only(0);
  const int helper = std::stoi(thread_with_name("stack-helper"));
  if (sched_setaffinity(0, sizeof one, &one) != 0 ||
      sched_setaffinity(helper, sizeof one, &one) != 0) {
    return 1;
  }
  if (!become_real_time(2)) {
    return errno == EPERM ? 8 : 1;
  }
  const BusyThread busy;
  const bool grew = call(stack, [] { return recurse(2000); }) == 2000;
  const auto missing = handler::counters().helper_missing;
  std::printf("%d\n", static_cast<int>(missing));
  return grew ? 7 : 2;
}

TEST_CASE(
    "a helper that gets no processor delays a fault and does not hang it, because the request is "
    "withdrawn") {
  const Ended ended = run_scenario("helper gets no processor");
  if (ended.exit_code == 8) {
    skip("needs the privilege to use SCHED_FIFO");
    return;
  }
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.exit_code == 7);
  CHECK(std::stoi(ended.out) > 0);
}

GROWSTACK_SCENARIO("helper's processor is taken") {
  // A real-time thread keeps one processor busy, and the faulting thread, of higher priority, may
  // use only this one. A helper that is brought there does not run. On another processor it does.
  const cpu_set_t all = own_processors();
  if (CPU_COUNT(&all) < 2 || !CPU_ISSET(0, &all)) {
    return 8;
  }
  Stack stack(options);
  const cpu_set_t one = only(0);
  if (sched_setaffinity(0, sizeof one, &one) != 0 || !become_real_time(2)) {
    return errno == EPERM ? 8 : 1;
  }
  const BusyThread busy;
  std::uint64_t missing_at_first = 0;
  bool grew = true;
  for (int round = 0; round < 5; ++round) {
    grew = grew && call(stack, [] { return recurse(2000); }) == 2000 && !stack.trim();
    missing_at_first = round == 0 ? handler::counters().helper_missing : missing_at_first;
  }
  const std::uint64_t missing = handler::counters().helper_missing;
  std::printf("%d %d\n", static_cast<int>(missing_at_first), static_cast<int>(missing));
  return grew && missing_at_first == 1 && missing == 1 ? 7 : 2;
}

TEST_CASE(
    "a helper that gets no processor where the fault is goes to another one, and stays there") {
  if (under_thread_sanitizer) {
    skip("ThreadSanitizer slows faults down, so that the helper may still be awake elsewhere");
    return;
  }
  const Ended ended = run_scenario("helper's processor is taken");
  if (ended.exit_code == 8) {
    skip("needs the privilege to use SCHED_FIFO, and two processors");
    return;
  }
  CHECK(ended.out == "1 1\n");
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("more faulting threads than reply words") {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int index = 0; index < 400; ++index) {
    threads.emplace_back(
        [&] { good += call(options, [] { return recurse(3000); }) == 3000 ? 1 : 0; });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const handler::Counters seen = handler::counters();
  return good == 400 && seen.by_helper + seen.helper_missing == seen.growth ? 7 : 1;
}

TEST_CASE("four hundred threads that fault at once are all served") {
  CHECK(run_scenario("more faulting threads than reply words").exit_code == 7);
}

GROWSTACK_SCENARIO("idle") {
  Stack stack(options);
  call(stack, [] { recurse(3000); });
  const std::string helper = thread_with_name("stack-helper");
  const std::string symbolizer = thread_with_name("stack-symbols");
  usleep(100'000);
  const auto wakeups = [&] {
    return status_of(helper, "voluntary_ctxt_switches") + " " +
           status_of(symbolizer, "voluntary_ctxt_switches");
  };
  const std::string before = wakeups();
  usleep(1'000'000);
  return wakeups() == before ? 7 : 1;
}

TEST_CASE("while nothing faults, neither helper nor symbolizer ever wakes up") {
  CHECK(run_scenario("idle").exit_code == 7);
}

GROWSTACK_SCENARIO("two descriptor tables in turn") {
  if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILES, 0, 0) != 0) {
    return 8;
  }
  constexpr int rounds = 10;
  std::barrier turn(2);
  bool has_own_table = false;
  std::thread other([&] {
    has_own_table = unshare(CLONE_FILES) == 0;
    for (int round = 0; round < rounds; ++round) {
      { const Stack stack(options); }
      turn.arrive_and_wait();
      turn.arrive_and_wait();
    }
    turn.arrive_and_wait();
  });
  std::size_t at_first = 0;
  for (int round = 0; round < rounds; ++round) {
    turn.arrive_and_wait();
    { const Stack stack(options); }
    at_first = round == 0 ? thread_count() : at_first;
    turn.arrive_and_wait();
  }
  const bool as_at_first = threads_come_down_to(at_first);
  turn.arrive_and_wait();
  other.join();
  if (!has_own_table) {
    return 8;
  }
  return as_at_first ? 7 : 1;
}

TEST_CASE(
    "a thread with a descriptor table of its own, which makes stacks in turn with the others, "
    "leaves no helpers behind") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  const Ended ended = run_scenario("two descriptor tables in turn");
  if (ended.exit_code == 8) {
    return skip("the kernel cannot compare descriptor tables, or make one of a thread's own");
  }
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.exit_code == 7);
}

// ---- where the process was started --------------------------------------------------------------

GROWSTACK_SCENARIO("helper starves under taskset") {
  const cpu_set_t all = own_processors();
  Stack stack(options);
  const int helper = std::stoi(thread_with_name("stack-helper"));
  if (!become_real_time(2)) {
    return errno == EPERM ? 8 : 1;
  }
  {
    const BusyThread busy;
    call(stack, [] { recurse(2000); });
  }
  cpu_set_t seen;
  sched_getaffinity(helper, sizeof seen, &seen);
  return handler::counters().helper_missing > 0 && CPU_EQUAL(&seen, &all) ? 7 : 2;
}

TEST_CASE("a helper that gives no answer stays on the processors that taskset(1) allowed") {
  const cpu_set_t all = own_processors();
  if (CPU_COUNT(&all) < 2 || !CPU_ISSET(0, &all)) {
    return skip("needs two processors");
  }
  const cpu_set_t one = only(0);
  sched_setaffinity(0, sizeof one, &one);  // as taskset(1) does, before it starts a program
  const Ended ended = run_scenario("helper starves under taskset");
  sched_setaffinity(0, sizeof all, &all);
  if (ended.exit_code == 8) {
    return skip("needs the privilege to use SCHED_FIFO");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("faults outside of taskset") {
  const cpu_set_t before = own_processors();
  Stack stack(options);
  const int helper = std::stoi(thread_with_name("stack-helper"));
  const cpu_set_t other = only(1);
  if (sched_setaffinity(0, sizeof other, &other) != 0) {
    return 8;
  }
  call(stack, [] { recurse(2000); });
  cpu_set_t seen;
  sched_getaffinity(helper, sizeof seen, &seen);
  return CPU_EQUAL(&seen, &before) ? 7 : 2;
}

TEST_CASE("the helper does not follow a thread that leaves those processors") {
  const cpu_set_t all = own_processors();
  if (CPU_COUNT(&all) < 2 || !CPU_ISSET(0, &all) || !CPU_ISSET(1, &all)) {
    return skip("needs two processors");
  }
  const cpu_set_t one = only(0);
  sched_setaffinity(0, sizeof one, &one);
  const Ended ended = run_scenario("faults outside of taskset");
  sched_setaffinity(0, sizeof all, &all);
  CHECK(ended.exit_code == 7);
}

// ---- processors of the start --------------------------------------------------------------------

namespace {

/// Runs before main, as objects of a program do that choose a processor.
struct ChoosesProcessorBeforeMain {
  ChoosesProcessorBeforeMain() {
    if (std::getenv("GROWSTACK_TEST_ONE_PROCESSOR") != nullptr) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(sched_getcpu(), &one);
      sched_setaffinity(0, sizeof one, &one);
    }
  }
};
const ChoosesProcessorBeforeMain chooses_processor_before_main;

}  // namespace

GROWSTACK_SCENARIO("processors at the start") {
  return CPU_COUNT(&handler::processors_at_start()) > 1 ? 7 : 1;
}

TEST_CASE("our threads may use the processors that the process had before the program chose some") {
  if (std::thread::hardware_concurrency() < 2) {
    return skip("needs two processors");
  }
  setenv("GROWSTACK_TEST_ONE_PROCESSOR", "1", 1);
  const Ended ended = run_scenario("processors at the start");
  unsetenv("GROWSTACK_TEST_ONE_PROCESSOR");
  CHECK(ended.exit_code == 7);
}
