// At each limit of a process, and when a system call is refused: an error that names the limit, no
// leak, and all is well again afterwards. A limit lasts as long as its process, so each has a child
// of its own.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/address_of.hpp"
#include "support/all_mappings.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/refusals.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/system_call_filter.hpp"
#include "support/units.hpp"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;
using growstack::StackOptions;
using growstack::Strategy;
using growstack::handler::page_size;

namespace {

bool works(const StackOptions& options, std::size_t depth = MiB) {
  Stack stack(options);
  return call(stack, [depth] { return descend(depth); }) == 0;
}

}  // namespace

// ---- RLIMIT_AS: address space -------------------------------------------------------------------

namespace {

int address_space(const Traits& of) {
  const StackOptions options{.reserve = 4 * MiB, .guard = 60 * MiB, .strategy = of.strategy};
  require(works(options), "a first stack works");
  require(set_soft_limit(RLIMIT_AS, status_bytes("VmSize") + 400 * MiB), "a limit can be set");
  std::vector<Stack> stacks;
  std::string refused;
  while (stacks.size() < 10 && refused.empty()) {
    refused = error_of([&] { stacks.emplace_back(options); });
  }
  require(stacks.size() >= 3, "some stacks fit");
  require(contains(refused, "RLIMIT_AS is reached"), "the error names the limit: " + refused);
  require(contains(refused, "ulimit -v"), "the error tells the cure: " + refused);
  require(call(stacks.back(), [] { return descend(2 * MiB); }) == 0, "stacks that exist go on");
  const std::size_t fitted = stacks.size();
  stacks.clear();
  for (std::size_t again = 0; again < fitted; ++again) {
    stacks.emplace_back(options);
  }
  require(!error_of([&] { stacks.emplace_back(options); }).empty(),
          "it is refused again where it was refused before");
  return 0;
}
const ScenarioOfEach<address_space> address_space_scenarios("address space");

/// Makes the very first stack with so little room that any step of its making may fail.
int narrow_start(const Traits& of) {
  const std::size_t room = std::strtoull(std::getenv("GROWSTACK_TEST_ROOM"), nullptr, 10);
  require(set_soft_limit(RLIMIT_AS, status_bytes("VmSize") + room), "a limit can be set");
  const StackOptions options{.reserve = 4 * MiB, .strategy = of.strategy};
  std::string message = error_of([&] { const Stack stack(options); });
  if (!message.empty()) {
    std::fprintf(stderr, "%s\n", message.c_str());
  }
  raise_soft_limit(RLIMIT_AS);
  require(works(options), "it works with more room");
  return message.empty() ? 0 : 1;
}
const ScenarioOfEach<narrow_start> narrow_start_scenarios("narrow start");

}  // namespace

STRATEGIES_WHERE(traits.own_address_space,
                 "at RLIMIT_AS a stack is refused with the limit and the cure, "
                 "and there is room again when others are gone") {
  if (sanitized) {
    return skip("a sanitizer reserves more address space than any limit allows");
  }
  const Ended ended = run_scenario_of("address space", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 0);
}

EVERY_STRATEGY(
    "wherever address space ends on the way to the first stack, the error names RLIMIT_AS") {
  if (sanitized) {
    return skip("a sanitizer reserves more address space than any limit allows");
  }
  // The table of ranges takes 16 MiB. The reservation takes 64 MiB, aligned to 64 MiB. Threads,
  // records and the alternate stack are small.
  bool refused = false;
  bool made = false;
  for (const std::size_t room :
       {0 * KiB, 4 * KiB, 64 * KiB, 512 * KiB, 1300 * KiB, 4 * MiB, 100 * MiB, 129 * MiB, 131 * MiB,
        140 * MiB, 160 * MiB, 256 * MiB}) {
    CAPTURE(room);
    setenv("GROWSTACK_TEST_ROOM", std::to_string(room).c_str(), 1);
    const Ended ended = run_scenario_of("narrow start", Of::traits);
    CAPTURE(ended.err);
    CHECK((ended.exit_code == 0 || ended.exit_code == 1));
    if (ended.exit_code == 1) {
      refused = true;
      CHECK(contains(ended.err, "RLIMIT_AS is reached"));
    }
    made = made || ended.exit_code == 0;
  }
  CHECK(refused);
  CHECK(made);
}

// ---- vm.max_map_count: mappings -----------------------------------------------------------------

namespace {

/// Makes stacks while almost all mappings are used up, until one is refused.
void make_stacks_until_refused(const Traits& of, const StackOptions& options,
                               std::vector<Stack>& stacks) {
  const AllMappings all(60);
  const std::size_t before = mapping_count();
  const std::size_t descriptors = descriptor_count();
  std::string refused;
  while (stacks.size() < 1000 && refused.empty()) {
    refused = error_of([&] { stacks.emplace_back(options); });
  }
  require(stacks.size() >= 5 && stacks.size() < 1000,
          "some stacks fit: " + std::to_string(stacks.size()));
  require(contains(refused, "vm.max_map_count is reached"),
          "the error names the limit: " + refused);
  require(contains(refused, "sysctl vm.max_map_count"), "the error tells the cure: " + refused);
  for (int again = 0; again < 20; ++again) {
    const std::string refused_again = error_of([&] { const Stack stack(options); });
    require(contains(refused_again, "vm.max_map_count is reached"),
            "it is refused again: " + refused_again);
  }
  for (Stack& stack : stacks) {
    require(call(stack, [] { return descend(512 * KiB); }) == 0,
            "stacks that exist grow, because that needs no mapping");
    if (of.trims) {
      require(!stack.trim(), "and are trimmed");
      require(stack.resident() == 0, "to nothing");
    }
    require(call(stack, [] { return descend(512 * KiB); }) == 0, "and grow again");
  }
  const std::size_t fitted = stacks.size();
  for (int round = 0; round < 2; ++round) {
    stacks.clear();
    require(mapping_count() <= before,
            "no mapping is left: " + std::to_string(mapping_count() - before));
    require(descriptor_count() == descriptors, "no descriptor is left");
    require(growstack::process_counters().arenas == 0, "no arena is left");
    for (std::size_t again = 0; again < fitted; ++again) {
      stacks.emplace_back(options);
      require(!of.starts_empty || stacks.back().resident() == 0, "a fresh stack is empty");
    }
  }
}

int mappings_used_up(const Traits& of) {
  const StackOptions options{.reserve = MiB, .strategy = of.strategy};
  require(works(options, 512 * KiB), "a first stack works");
  std::vector<Stack> stacks;
  stacks.reserve(1000);
  const std::size_t charged = charged_bytes();
  make_stacks_until_refused(of, options, stacks);
  stacks.clear();
  require(charged_bytes() <= charged + 4 * MiB, "nothing is left charged");
  require(works(options, 512 * KiB), "it works with mappings to spare");
  return 0;
}
const ScenarioOfEach<mappings_used_up> mappings_used_up_scenarios("mappings used up");

}  // namespace

STRATEGIES_WHERE(traits.guard_is_mapped_apart,
                 "at vm.max_map_count a stack is refused with the limit and the cure, "
                 "other stacks go on, and nothing leaks") {
  if (sanitized) {
    return skip("a sanitizer dies when it cannot map memory");
  }
  const Ended ended = run_scenario_of("mappings used up", Of::traits, std::chrono::seconds(60));
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 0);
}

// ---- RLIMIT_DATA and the overcommit limit: charged memory ---------------------------------------

namespace {

int data_at_construction(const Traits& of) {
  const StackOptions options{
      .reserve = 8 * MiB, .policy = {.initial_commit = 4 * MiB}, .strategy = of.strategy};
  require(works(options), "a first stack works");
  const std::size_t charged = charged_bytes();
  const std::size_t mappings = mapping_count();
  require(set_soft_limit(RLIMIT_DATA, status_bytes("VmData") + 3 * MiB), "a limit can be set");
  for (int round = 0; round < 20; ++round) {
    const std::string refused = error_of([&] { const Stack stack(options); });
    require(contains(refused, "RLIMIT_DATA is reached"), "the error names the limit: " + refused);
    require(contains(refused, "ulimit -d"), "the error tells the cure: " + refused);
  }
  require(growstack::process_counters().arenas == 0, "no arena is left");
  require(charged_bytes() <= charged + MiB, "nothing is left charged");
  require(mapping_count() <= mappings + 1, "no mapping is left");
  require(works({.reserve = 8 * MiB, .strategy = of.strategy}, 512 * KiB),
          "a smaller one is made under the same limit");
  raise_soft_limit(RLIMIT_DATA);
  require(works(options), "it works once the limit is lifted");
  return 0;
}
const ScenarioOfEach<data_at_construction> data_at_construction_scenarios("data at construction");

int data_during_growth(const Traits& of) {
  Stack stack({.reserve = 64 * MiB, .strategy = of.strategy, .name = "short of data"});
  call(stack, [] { descend(MiB); });
  require(set_soft_limit(RLIMIT_DATA, status_bytes("VmData") + 16 * MiB), "a limit can be set");
  call(stack, [] { descend(8 * MiB); });
  std::fprintf(stderr, "so far it went well\n");
  call(stack, [] { descend(48 * MiB); });
  return 0;
}
const ScenarioOfEach<data_during_growth> data_during_growth_scenarios("data during growth");

int more_than_the_kernel_lends(const Traits& of) {
  Stack stack({.reserve = 256 * GiB * 256, .strategy = of.strategy, .name = "too deep"});
  std::fprintf(stderr, "reserved\n");
  call(stack, [&] { touch_in_one_jump(reinterpret_cast<std::uintptr_t>(stack.floor())); });
  return 0;
}
const ScenarioOfEach<more_than_the_kernel_lends> more_than_the_kernel_lends_scenarios(
    "more than the kernel lends");

}  // namespace

STRATEGIES_WHERE(traits.grows_by_protection,
                 "at RLIMIT_DATA a stack is refused with the limit "
                 "and the cure, and nothing of it stays behind") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  const Ended ended = run_scenario_of("data at construction", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 0);
}

STRATEGIES_WHERE(
    traits.grows_by_protection,
    "a stack that cannot grow because of RLIMIT_DATA says so, and the process dies of SIGSEGV") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  const Ended ended = run_scenario_of("data during growth", Of::traits);
  CHECK(contains(ended.err, "so far it went well"));
  CHECK(contains(ended.err, "a stack could not grow (mprotect: ENOMEM"));
  CHECK(contains(ended.err, "RLIMIT_DATA"));
  CHECK(contains(ended.err, "\"short of data\""));
  CHECK(!contains(ended.err, "stack overflow"));
  CHECK(ended.signal == SIGSEGV);
}

TEST_CASE("RLIMIT_DATA does not count MAP_GROWSDOWN") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  const std::size_t before = status_bytes("VmData");
  call(stack, [] { descend(5 * MiB); });
  CHECK(status_bytes("VmData") < before + MiB);
}

STRATEGIES_WHERE(
    traits.grows_by_protection,
    "a jump over more memory than the kernel lends ends with an error, and not with a hang") {
  if (number_in("/proc/sys/vm/overcommit_memory") != 0) {
    return skip("vm.overcommit_memory is not 0: the kernel lends by another rule");
  }
  if (sanitized) {
    return skip("a sanitizer's shadow memory leaves no room for a reservation of 64 TiB");
  }
  const Ended ended = run_scenario_of("more than the kernel lends", Of::traits);
  CHECK(contains(ended.err, "reserved"));
  CHECK(contains(ended.err, "a stack could not grow (mprotect: ENOMEM"));
  CHECK(ended.signal == SIGSEGV);
}

TEST_CASE("a touch of a page that RLIMIT_DATA has room for grows the stack, whatever the step is") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  for (const Strategy strategy : {Strategy::pipe_helper, Strategy::in_handler}) {
    CAPTURE(growstack::name(strategy));
    CHECK(end_of_child([strategy] {
            Stack stack({.reserve = 256 * MiB, .strategy = strategy});
            call(stack, [] { descend(8 * MiB); });
            constexpr std::size_t pages = 5;
            set_soft_limit(RLIMIT_DATA, status_bytes("VmData") + pages * page_size());
            const std::size_t committed = stack.committed();
            call(stack, [&] {
              for (std::size_t page = 1; page <= pages; ++page) {
                touch_in_one_jump(address_of(stack.base()) - committed - page * page_size());
              }
            });
            return stack.committed() == committed + pages * page_size() ? 7 : 1;
          }) == 7);
  }
}

// ---- system calls refused, one after the other --------------------------------------------------

namespace {

constexpr Refusal refusals[] = {
    {"mmap", SYS_mmap},
    {"mprotect", SYS_mprotect},
    {"madvise", SYS_madvise},
    {"sigaltstack", SYS_sigaltstack},
    {"pipe2", SYS_pipe2},
    {"clone", SYS_clone},
    {"clone3", SYS_clone3},
    {"fcntl", SYS_fcntl},
    {"rt_sigaction", SYS_rt_sigaction},
    {"close_range", SYS_close_range},
};

/// Makes stacks while a system call is refused.
int refused_call(const Traits& of, bool warm) {
  const StackOptions options{.reserve = 4 * MiB, .strategy = of.strategy};
  if (warm) {
    require(works(options), "a first stack works");
  }
  std::string message;
  const auto ask_refused = [&] {
    with_refusal([&] { message = error_of([&] { const Stack stack(options); }); });
  };
  // The first time leaves what the process keeps for good: parts of the handler, and the
  // allocator's memory for a thread.
  ask_refused();
  const std::size_t mappings = mapping_count();
  const std::size_t descriptors = descriptor_count();
  const std::size_t threads = thread_count();
  for (int round = 0; round < 5; ++round) {
    ask_refused();
  }
  std::fprintf(stderr, "%s\n", message.c_str());
  require(mapping_count() <= mappings, "no mapping is left");
  require(descriptor_count() <= descriptors, "no descriptor is left");
  require(threads_come_down_to(threads), "no thread is left");
  require(growstack::process_counters().arenas == 0, "no arena is left");
  require(works(options), "it works without the refusal");
  return message.empty() ? 0 : 1;
}

int refused_call_at_first(const Traits& of) { return refused_call(of, false); }
int refused_call_later(const Traits& of) { return refused_call(of, true); }
const ScenarioOfEach<refused_call_at_first> refused_call_at_first_scenarios(
    "refused call at first");
const ScenarioOfEach<refused_call_later> refused_call_later_scenarios("refused call later");

}  // namespace

EVERY_STRATEGY(
    "whichever system call of the first stack is refused, "
    "there is either a clear error or none, and no leak") {
  if (sanitized) {
    return skip("a sanitizer dies when its own system calls are refused");
  }
  refuse_each(refusals, "refused call at first", Of::traits);
}

EVERY_STRATEGY(
    "whichever system call of a later stack is refused, "
    "there is either a clear error or none, and no leak") {
  if (sanitized) {
    return skip("a sanitizer dies when its own system calls are refused");
  }
  refuse_each(refusals, "refused call later", Of::traits);
}

// ---- growth refused by a filter -----------------------------------------------------------------

namespace {

/// Grows a stack after a filter has come into force for all threads.
int refused_growth(const Traits& of) {
  no_core();
  Stack stack({.reserve = 64 * MiB, .strategy = of.strategy, .name = "filtered"});
  SystemCallFilter filter;
  if (of.by_userfaultfd) {
    constexpr std::uint32_t copy = UFFDIO_COPY;
    filter.add(SCMP_ACT_ERRNO(EPERM), SYS_ioctl, {argument_is(1, copy)});
  } else {
    filter.add(SCMP_ACT_ERRNO(EPERM), of.grows_by_protection ? SYS_mprotect : SYS_madvise);
  }
  filter.install_for_all_threads();
  std::fprintf(stderr, "filtered\n");
  call(stack, [] { descend(MiB); });
  return 0;
}
const ScenarioOfEach<refused_growth> refused_growth_scenarios("refused growth");

}  // namespace

STRATEGIES_WHERE(traits.growth_events,
                 "a stack that a filter forbids to grow says which call was refused, and how") {
  if (sanitized) {
    return skip("a sanitizer dies when its own system calls are refused");
  }
  const Ended ended = run_scenario_of("refused growth", Of::traits);
  CAPTURE(ended.err);
  const std::string call = Of::traits.by_userfaultfd        ? "ioctl\\(UFFDIO_COPY\\)"
                           : Of::traits.grows_by_protection ? "mprotect"
                                                            : "madvise";
  CHECK(ended.signal != 0);
  CHECK(matches(ended.err, "^filtered\ngrowstack: a stack could not grow \\(" + call +
                               ": EPERM: a seccomp filter"));
  CHECK(contains(ended.err, "\"filtered\""));
}

STRATEGIES_WHERE(traits.grows_by_protection, "a growth that was refused is not charged") {
  Stack stack({.reserve = 4 * MiB, .strategy = Of::strategy});
  const auto* const base = static_cast<const std::byte*>(stack.base());
  const auto charged_from = [&] { return growstack::stack_bounds(base - 1)->limit; };
  const void* const before = charged_from();
  std::error_code error;
  const int end = end_of_child([&] {
    InjectedError::for_good().refuse(SYS_mprotect, ENOMEM);
    error = growstack::ensure_committed(base - 2 * MiB, 1);
    return error == std::errc::not_enough_memory && charged_from() == before ? 7 : 1;
  });
  if (end == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(end == 7);
}

STRATEGIES_WHERE(traits.own_address_space,
                 "the calls that a stack can do without are done without") {
  if (sanitized) {
    return skip("a sanitizer dies when its own system calls are refused");
  }
  for (const long call_number : {SYS_newfstatat, SYS_munlock, SYS_prctl, SYS_sched_getaffinity,
                                 SYS_sched_setaffinity, SYS_sched_getattr, SYS_sched_setattr}) {
    CAPTURE(call_number);
    setenv("GROWSTACK_TEST_CALL", std::to_string(call_number).c_str(), 1);
    setenv("GROWSTACK_TEST_ERROR", std::to_string(EPERM).c_str(), 1);
    const Ended ended = run_scenario_of("refused call at first", Of::traits);
    CAPTURE(ended.err);
    CHECK(ended.exit_code == 0);
  }
}

TEST_CASE("an error of what a stack needs beside its memory names the call that was refused") {
  if (sanitized) {
    return skip("a sanitizer dies when its own system calls are refused");
  }
  struct Case {
    long number;
    int error;
    const char* said;
  };
  for (const Case each : {Case{SYS_rt_sigaction, EPERM, "sigaction: EPERM"},
                          Case{SYS_sigaltstack, EPERM, "sigaltstack: EPERM"},
                          Case{SYS_pipe2, EMFILE, "pipe2: EMFILE"},
                          Case{SYS_close_range, ENOMEM, "close_range: ENOMEM"}}) {
    CAPTURE(each.said);
    CHECK(end_of_child([&] {
            bool is_named = false;
            InjectedError::in_a_thread([&](InjectedError& injected) {
              injected.refuse(each.number, each.error);
              is_named =
                  contains(error_of([] { const Stack stack({.strategy = Strategy::pipe_helper}); }),
                           each.said);
            });
            return is_named ? 7 : 1;
          }) == 7);
  }
}
