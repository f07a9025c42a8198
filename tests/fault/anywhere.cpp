// What any thread and any signal handler may ask of the kernel, and what they tell: memory that is
// looked at without a fault, descriptors that may be somebody else's by now, lines of text.
#include <doctest/doctest.h>

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>

#include "anywhere/futex.hpp"
#include "anywhere/is_writable.hpp"
#include "anywhere/keep_errno.hpp"
#include "anywhere/own_descriptor.hpp"
#include "anywhere/raw_line.hpp"
#include "support/address_of.hpp"
#include "support/scenario.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
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
