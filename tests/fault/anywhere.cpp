// What any thread and any signal handler may ask of the kernel, and what they tell: memory that is
// looked at without a fault, descriptors that may be somebody else's by now, lines of text.
#include <doctest/doctest.h>

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/futex.hpp"
#include "anywhere/is_writable.hpp"
#include "anywhere/keep_errno.hpp"
#include "anywhere/own_descriptor.hpp"
#include "anywhere/raw_line.hpp"
#include "anywhere/standard_error.hpp"
#include "anywhere/userfault_open.hpp"
#include "support/address_of.hpp"
#include "support/injected_error.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

using namespace growstack::handler;
using namespace growstack::testing;

namespace {

/// Two pages, of which only the lower one may be touched.
std::uintptr_t end_of_usable_page() {
  void* const memory =
      mmap(nullptr, 2 * page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  REQUIRE(mprotect(memory, page_size(), PROT_READ | PROT_WRITE) == 0);
  return address_of(memory) + page_size();
}

/// Returns the line of /proc/self/maps of the mapping that begins there. Keeps errno.
std::string mapping_line(std::uintptr_t begin) {
  const KeepErrno keep_errno;
  std::ostringstream start;
  start << std::hex << begin << '-';
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.starts_with(start.str())) {
      return line;
    }
  }
  return {};
}

}  // namespace

TEST_CASE("the last byte of a page is looked at without the next page, and errno stays") {
  const std::uintptr_t end = end_of_usable_page();
  errno = ERANGE;
  CHECK(is_readable(end - 1));
  CHECK_FALSE(is_readable(end));
  CHECK(errno == ERANGE);
  CHECK(is_writable(end - 1));
  CHECK_FALSE(is_writable(end));
}

TEST_CASE("a look at memory changes nothing there") {
  const std::uintptr_t end = end_of_usable_page();
  auto* const word = reinterpret_cast<volatile std::uint32_t*>(end - sizeof(std::uint32_t));
  *word = 0x12345678;
  CHECK(is_writable(end - 1));
  CHECK(*word == 0x12345678);
}

TEST_CASE("memory that is not there gets no name, and other memory still does, and errno stays") {
  const std::uintptr_t end = end_of_usable_page();
  munmap(reinterpret_cast<void*>(end), page_size());
  const std::uintptr_t page = end - page_size();
  errno = ERANGE;
  name_memory(page, page_size(), records_name);
  CHECK(errno == ERANGE);
  if (!contains(mapping_line(page), records_name)) {
    return skip("the kernel knows no names");
  }
  name_memory(page, 2 * page_size(), records_name);
  name_memory(page, page_size(), stacks_name);
  CHECK(errno == ERANGE);
  CHECK(contains(mapping_line(page), stacks_name));
}

TEST_CASE("a descriptor is closed only as long as it stands for the same file, and errno stays") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  OwnDescriptor ours;
  REQUIRE(ours.set(ends[1]) == 0);
  CHECK(ours.verified() == ends[1]);
  int others[2];
  REQUIRE(pipe(others) == 0);
  REQUIRE(dup2(others[1], ends[1]) == ends[1]);
  CHECK(ours.verified() == -1);
  ours.close();
  CHECK(fcntl(ends[1], F_GETFD) >= 0);  // it is somebody else's
  CHECK(ours.number() == -1);
  errno = ERANGE;
  close_quietly(-1);
  CHECK(errno == ERANGE);
}

TEST_CASE("who is woken early is told so, and who waited in vain, too") {
  using namespace std::chrono_literals;
  const std::atomic<std::uint32_t> word{1};
  CHECK_FALSE(futex_wait(word, 0, 1h));  // it has another value
  CHECK(futex_wait(word, 1, 1ms));
}

GROWSTACK_SCENARIO("memory cannot be wiped in children") {
  bool is_refused = false;
  std::size_t left = 0;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse_argument(SYS_madvise, 2, MADV_WIPEONFORK, EINVAL);
    const std::size_t before = status_bytes("VmData");
    is_refused = map_fork_wiped(1 << 20) == nullptr;
    left = status_bytes("VmData") - before;
  });
  return is_refused && left < 1 << 20 ? 7 : 1;
}

TEST_CASE("memory that cannot be wiped in forked children is not used, and not kept") {
  const Ended ended = run_scenario("memory cannot be wiped in children");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("fstat is forbidden") {
  bool is_known = false;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse(SYS_fstat, EPERM);
    injected.refuse(SYS_newfstatat, EPERM);
    OwnDescriptor ours;
    is_known = ours.set(STDERR_FILENO) == 0 && ours.verified() == STDERR_FILENO;
  });
  return is_known ? 7 : 1;
}

TEST_CASE("a descriptor is known by statx where a filter forbids fstat") {
  const Ended ended = run_scenario("fstat is forbidden");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("userfaultfd cannot do it") {
  bool is_refused = false;
  const std::size_t before = descriptor_count();
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse_argument(SYS_ioctl, 1, UFFDIO_API, EINVAL);
    is_refused = open_userfault(UserfaultKind::signal) == -1;
  });
  return is_refused && descriptor_count() == before ? 7 : 1;
}

GROWSTACK_SCENARIO("userfaultfd is forbidden") {
  if (access("/dev/userfaultfd", R_OK | W_OK) != 0) {
    return 8;
  }
  int userfault = -1;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse(SYS_userfaultfd, EPERM);
    userfault = open_userfault(UserfaultKind::signal);
  });
  return userfault >= 0 ? 7 : 1;
}

TEST_CASE("a userfaultfd that cannot do what is needed is closed again") {
  const Ended ended = run_scenario("userfaultfd cannot do it");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

TEST_CASE("a userfaultfd can be had from the device where the system call is forbidden") {
  const Ended ended = run_scenario("userfaultfd is forbidden");
  if (ended.exit_code == no_filters || ended.exit_code == 8) {
    return skip("there is no /dev/userfaultfd that this user may open, or no seccomp filter");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("to wait is forbidden") {
  using namespace std::chrono_literals;
  std::chrono::nanoseconds waited{};
  InjectedError::in_a_thread([&](InjectedError& injected) {
    const std::atomic<std::uint32_t> word{1};
    injected.refuse(SYS_futex, EPERM);
    const auto begin = std::chrono::steady_clock::now();
    static_cast<void>(futex_wait(word, 1, 1h));
    waited = std::chrono::steady_clock::now() - begin;
  });
  return waited >= 1ms ? 7 : 1;
}

TEST_CASE(
    "who may not wait pauses before it looks again, so that it leaves the processor to others") {
  const Ended ended = run_scenario("to wait is forbidden");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

TEST_CASE("a failed call is named to the thread that made it, with its errno, and to nobody else") {
  errno = EPERM;
  CHECK(failed(SystemCall::madvise) == EPERM);
  REQUIRE(call_that_failed(EPERM) != nullptr);
  CHECK(std::string(call_that_failed(EPERM)) == "madvise");
  CHECK(call_that_failed(EINVAL) == nullptr);
  const char* told_to_another = "";
  std::thread([&] { told_to_another = call_that_failed(EPERM); }).join();
  CHECK(told_to_another == nullptr);
  std::thread([] {
    errno = EPERM;
    static_cast<void>(failed(SystemCall::mmap));
  }).join();
  REQUIRE(call_that_failed(EPERM) != nullptr);
  CHECK(std::string(call_that_failed(EPERM)) == "madvise");
}

GROWSTACK_SCENARIO("a line that is too long") {
  RawLine line;
  line << std::string(2000, 'x');
  return line.write_to_stderr() ? 7 : 1;
}

TEST_CASE("a line that is too long is cut, and ends as a line") {
  const Ended ended = run_scenario("a line that is too long");
  CHECK(ended.exit_code == 7);
  CHECK(ended.err == std::string(511, 'x') + "\n");
}

GROWSTACK_SCENARIO("a pipe that takes a part") {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK) != 0 || fcntl(ends[1], F_SETPIPE_SZ, 4096) != 4096 ||
      dup2(ends[1], STDERR_FILENO) < 0) {
    return 1;
  }
  const std::string text(6000, 'x');
  std::string seen;
  std::thread reader([&] {
    char some[512];
    for (int looks = 0; looks < 5000 && seen.size() < text.size(); ++looks) {
      const ssize_t bytes = read(ends[0], some, sizeof some);
      seen.append(some, bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
      usleep(1000);
    }
  });
  const bool is_written = write_to_standard_error(text);
  reader.join();
  return is_written && seen == text ? 7 : 2;
}

TEST_CASE("a write to standard error that was cut goes on") {
  CHECK(run_scenario("a pipe that takes a part").exit_code == 7);
}

GROWSTACK_SCENARIO("standard error refuses every write") {
  bool is_written = true;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse(SYS_write, EAGAIN);
    is_written = write_to_standard_error("text");
  });
  return is_written ? 1 : 7;
}

TEST_CASE("standard error that takes nothing, and says that it takes more, is given up") {
  const Ended ended = run_scenario("standard error refuses every write", std::chrono::seconds(20));
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("a thread without standard error") {
  const int file = memfd_create("errors", 0);
  if (file < 0 || dup2(file, STDERR_FILENO) < 0 || write(file, "before\n", 7) != 7) {
    return 1;
  }
  bool is_written = false;
  std::thread([&] {
    require(unshare(CLONE_FILES) == 0 && close(STDERR_FILENO) == 0, "a table of its own");
    is_written = write_to_standard_error("after\n");
  }).join();
  char text[32] = "";
  return is_written && pread(file, text, sizeof text - 1, 0) == 13 &&
                 std::string(text) == "before\nafter\n"
             ? 7
             : 2;
}

TEST_CASE("what a thread without standard error writes there comes after what a file has already") {
  CHECK(run_scenario("a thread without standard error").exit_code == 7);
}
