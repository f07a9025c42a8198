// Code that reads all memory of its process, as scanners, checkpointers and some collectors do. A
// stack has pages in readable and writable mappings that a touch must not meet: guard markers, and
// pages of a userfaultfd that are to be filled at the touch.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/pages.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/pools.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// A line of /proc/self/maps.
struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool writable = false;
  std::string name;
};

std::vector<Mapping> mappings() {
  std::vector<Mapping> all;
  std::ifstream file("/proc/self/maps");
  for (std::string line; std::getline(file, line);) {
    Mapping each;
    char permissions[5]{};
    int name_at = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %*s %n", &each.begin, &each.end, permissions,
                    &name_at) >= 3) {
      each.writable = std::strcmp(permissions, "rw-p") == 0;
      each.name = line.substr(static_cast<std::size_t>(name_at));
      all.push_back(each);
    }
  }
  return all;
}

bool is_stacks(const Mapping& mapping) { return mapping.name == "[anon:growstack stacks]"; }

/// Whether the kernel shows names of anonymous mappings (CONFIG_ANON_VMA_NAME, Linux 5.17).
bool kernel_shows_names() {
  const Stack stack({.strategy = Strategy::in_handler});
  for (const Mapping& each : mappings()) {
    if (each.begin <= address_of(stack.floor()) && address_of(stack.floor()) < each.end) {
      return is_stacks(each);
    }
  }
  return false;
}

/// Touches each writable page, except in the mappings that `left_out` names. Returns their number.
template <class LeftOut>
std::size_t touch_pages(const LeftOut& left_out) {
  std::size_t pages = 0;
  for (const Mapping& each : mappings()) {
    if (!each.writable || left_out(each)) {
      continue;
    }
    for (std::uintptr_t at = each.begin; at < each.end; at += handler::page_size(), ++pages) {
      static_cast<void>(*reinterpret_cast<const volatile unsigned char*>(at));
    }
  }
  return pages;
}

/// A stack of a pool that has grown, and one that has not.
struct TwoStacks {
  explicit TwoStacks(Strategy strategy)
      : pool({.reserve = 8 * MiB, .strategy = strategy}),
        deep(pool.acquire()),
        shallow(pool.acquire()) {
    call(deep, [] { static_cast<void>(descend(200 * KiB)); });
  }
  [[nodiscard]] std::size_t committed() const { return deep.committed() + shallow.committed(); }

  StackPool pool;
  Stack deep;
  Stack shallow;
};

}  // namespace

namespace {

int touch_every_page(const Traits& of) {
  no_core();
  const TwoStacks stacks(of.strategy);
  static_cast<void>(touch_pages([](const Mapping&) { return false; }));
  return 7;
}
const ScenarioOfEach<touch_every_page> touch_every_pages("touch every page");

}  // namespace

POOLS_WHERE(!traits.guard_is_mapped_apart,
            "code that touches every writable page dies at a page of a stack, without a word") {
  const Ended ended = run_scenario_of("touch every page", Of::traits);
  CHECK((ended.signal == SIGSEGV || ended.signal == SIGBUS));
  CHECK(ended.err.empty());
}

EVERY_POOL(
    "code that leaves out the mappings of stacks reads all other memory, and no stack grows") {
  if (!kernel_shows_names()) {
    return skip("this kernel shows no names of anonymous mappings");
  }
  const TwoStacks stacks(Of::strategy);
  const std::size_t committed = stacks.committed();
  const handler::Counters before = handler::counters();
  CHECK(touch_pages(is_stacks) > 100);
  CHECK(stacks.committed() == committed);
  CHECK(handler::counters().growth == before.growth);
  CHECK(handler::counters().foreign == before.foreign);
}

namespace {

/// Reads all of both stacks, guards included, as a debugger or a checkpointer of another process
/// would: read(from, page) returns how many bytes it could read.
template <class Read>
std::size_t bytes_that_can_be_read(const TwoStacks& stacks, const Read& read) {
  std::size_t sum = 0;
  for (const Stack* const each : {&stacks.deep, &stacks.shallow}) {
    for (std::uintptr_t at = address_of(each->floor()) - 16 * KiB; at < address_of(each->base());
         at += handler::page_size()) {
      const ssize_t bytes = read(at, handler::page_size());
      sum += bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
    }
  }
  return sum;
}

}  // namespace

POOLS_WHERE(traits.grows_by != 0,
            "the kernel reads a stack for others as far as it is committed, and does not make it "
            "grow: process_vm_readv, /proc/self/mem") {
  const TwoStacks stacks(Of::strategy);
  const std::size_t committed = stacks.committed();
  const handler::Counters before = handler::counters();
  std::vector<char> page(handler::page_size());

  const std::size_t by_call = bytes_that_can_be_read(stacks, [&](std::uintptr_t at, std::size_t n) {
    const iovec to{page.data(), n};
    const iovec from{reinterpret_cast<void*>(at), n};
    const ssize_t bytes = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    CHECK((bytes >= 0 || errno == EFAULT));
    return bytes;
  });
  const int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  const std::size_t by_file = bytes_that_can_be_read(stacks, [&](std::uintptr_t at, std::size_t n) {
    const ssize_t bytes = pread(memory, page.data(), n, static_cast<off_t>(at));
    CHECK((bytes >= 0 || errno == EIO));
    return bytes;
  });
  close(memory);
  CHECK(by_call >= committed);
  CHECK((!Of::traits.grows_by_events_only() || by_call == committed));
  CHECK(by_file >= committed);
  CHECK(stacks.committed() == committed);
  CHECK(handler::counters().growth == before.growth);
}

namespace {

constexpr std::uint64_t is_guard_marker = std::uint64_t{1} << 58;  // Linux 6.15

std::uint64_t pagemap_entry(std::uintptr_t address) {
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  std::uint64_t entry = 0;
  static_cast<void>(!pread(pagemap, &entry, sizeof entry,
                           static_cast<off_t>(address / handler::page_size() * sizeof entry)));
  close(pagemap);
  return entry;
}

}  // namespace

ONE_STRATEGY(Strategy::guard_markers, "pagemap shows which pages of a stack are guard markers") {
  const TwoStacks stacks(Strategy::guard_markers);
  const std::uintptr_t limit = address_of(stacks.deep.limit());
  const std::uint64_t below = pagemap_entry(limit - handler::page_size());
  if ((below & is_guard_marker) == 0) {
    return skip("this kernel shows no guard markers in pagemap");
  }
  CHECK((pagemap_entry(limit) & is_guard_marker) == 0);
  CHECK((pagemap_entry(address_of(stacks.deep.floor()) - handler::page_size()) & is_guard_marker) !=
        0);
}
