// The resource limits of a process, reached.
#include <doctest/doctest.h>

#include "proofs/running_out/shortage.hpp"
#include "support/all_mappings.hpp"
#include "support/limits.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>

#include <memory>
#include <string>

using namespace growstack::testing;

namespace {

template <__rlimit_resource resource>
void lift() {
  raise_soft_limit(resource);
}

template <__rlimit_resource resource, rlim_t value>
void set_to(const Traits&) {
  require(set_soft_limit(resource, value), "a limit can be set");
}

// ---- memory -------------------------------------------------------------------------------------

constexpr std::size_t little = 64 * KiB;

const NamedShortage address_space(
    "RLIMIT_AS",
    {.begin = [](const Traits&) { set_soft_limit(RLIMIT_AS, status_bytes("VmSize") + little); },
     .end = lift<RLIMIT_AS>,
     .error = "RLIMIT_AS is reached \\(.*ulimit -v\\): raise it or",
     .report = "the kernel grew it no further \\(RLIMIT_STACK or "
               "RLIMIT_AS is reached: raise it"});

const NamedShortage data(
    "RLIMIT_DATA",
    {.begin = [](const Traits&) { set_soft_limit(RLIMIT_DATA, status_bytes("VmData") + little); },
     .end = lift<RLIMIT_DATA>,
     .error = "RLIMIT_DATA is reached \\(.*ulimit -d\\): raise it or",
     .report = "could not grow \\(mprotect: ENOMEM: .*RLIMIT_DATA.*raise"});

const NamedShortage stack_size("RLIMIT_STACK",
                               {.begin = set_to<RLIMIT_STACK, little>,
                                .end = lift<RLIMIT_STACK>,
                                .error = "RLIMIT_STACK.*raise it \\(ulimit -s\\)",
                                .report = "the kernel grew it no further \\(RLIMIT_STACK"});

constexpr std::size_t last_mappings = 300;  // more than what is tried needs

std::unique_ptr<AllMappings> most_mappings;
std::unique_ptr<AllMappings> all_mappings;

// Almost all mappings are used up once, because that takes long, and the last ones each time.
const NamedShortage map_count(
    "vm.max_map_count",
    {.begin =
         [](const Traits&) {
           all_mappings = std::make_unique<AllMappings>(AllMappings::Pages{2 * last_mappings});
         },
     .end = [] { all_mappings.reset(); },
     .prepare = [] { most_mappings = std::make_unique<AllMappings>(last_mappings); },
     .error = "vm.max_map_count is reached.*sysctl vm.max_map_count",
     // The kernel grows a stack without a new mapping, but one of those may lie where it grows.
     .report = "could not grow \\([a-z]*: ENOMEM: vm.max_map_count.*raise it|"
               "another mapping is in the way: take another strategy",
     .concerns_malloc = true});

// ---- what a process without privileges has: a privileged one is beyond these limits -------------

/// Gives up every privilege, and stays able to look at itself.
void become_nobody_who_sees() {
  require(become_nobody(), "the process can become another user's");
  prctl(PR_SET_DUMPABLE, 1);
}

const NamedShortage locked_memory(
    "RLIMIT_MEMLOCK", {.begin = set_to<RLIMIT_MEMLOCK, 0>,
                       .end = lift<RLIMIT_MEMLOCK>,
                       .prepare =
                           [] {
                             set_both_limits(RLIMIT_MEMLOCK, 64 * MiB);
                             become_nobody_who_sees();
                           },
                       .error = "RLIMIT_MEMLOCK.*(raise it \\(ulimit -l|ulimit -l\\): raise it)"});

// malloc turns each refusal into ENOMEM, so for the heap something must be locked already.
void* locked_before = nullptr;

const NamedShortage locked_future(
    "RLIMIT_MEMLOCK, mlockall",
    {.begin =
         [](const Traits& of) {
           require(mlockall(MCL_FUTURE) == 0, "mlockall works");
           if (!of.own_address_space) {
             locked_before =
                 mmap(nullptr, 4 * KiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
           }
           set_soft_limit(RLIMIT_MEMLOCK, status_bytes("VmLck") + 16 * KiB);
         },
     .end =
         [] {
           munlockall();
           if (locked_before != nullptr) {
             munmap(locked_before, 4 * KiB);
           }
           raise_soft_limit(RLIMIT_MEMLOCK);
         },
     .prepare =
         [] {
           set_both_limits(RLIMIT_MEMLOCK, 512 * MiB);
           become_nobody_who_sees();
         },
     .error = "RLIMIT_MEMLOCK.*ulimit -l",
     .report = "could not grow \\([a-z]*: EAGAIN: RLIMIT_MEMLOCK is reached: raise it"});

const NamedShortage processes("RLIMIT_NPROC", {.begin = set_to<RLIMIT_NPROC, 0>,
                                               .end = lift<RLIMIT_NPROC>,
                                               .prepare = become_nobody_who_sees,
                                               .error = "EAGAIN.*RLIMIT_NPROC \\(ulimit -u\\)"});

const NamedShortage pending_signals("RLIMIT_SIGPENDING", {.begin = set_to<RLIMIT_SIGPENDING, 0>,
                                                          .end = lift<RLIMIT_SIGPENDING>,
                                                          .prepare = become_nobody_who_sees,
                                                          .error = "^$"});

const NamedShortage descriptors("RLIMIT_NOFILE",
                                {.begin = set_to<RLIMIT_NOFILE, 0>,
                                 .end = lift<RLIMIT_NOFILE>,
                                 .error = "EMFILE: RLIMIT_NOFILE is reached \\(ulimit -n\\): raise",
                                 .may_leave = is_grown_by_kernel});

}  // namespace

EVERY_STRATEGY("without address space (RLIMIT_AS) a stack works, or says what is missing") {
  check(address_space, Of::traits);
}

EVERY_STRATEGY("without writable memory (RLIMIT_DATA) a stack works, or says what is missing") {
  check(data, Of::traits);
}

EVERY_STRATEGY("with a low RLIMIT_STACK a stack works, or says what is missing") {
  check(stack_size, Of::traits);
}

EVERY_STRATEGY("without mappings (vm.max_map_count) a stack works, or says what is missing") {
  check(map_count, Of::traits);
}

EVERY_STRATEGY("without locked memory (RLIMIT_MEMLOCK) a stack works, or says what is missing") {
  check(locked_memory, Of::traits);
}

EVERY_STRATEGY(
    "without locked memory after mlockall(MCL_FUTURE) a stack works, or says what is missing") {
  check(locked_future, Of::traits);
}

EVERY_STRATEGY("without another thread (RLIMIT_NPROC) a stack works, or says what is missing") {
  check(processes, Of::traits);
}

EVERY_STRATEGY("without queued signals (RLIMIT_SIGPENDING) a stack works") {
  check(pending_signals, Of::traits);
}

EVERY_STRATEGY("without descriptors (RLIMIT_NOFILE) a stack works, or says what is missing") {
  check(descriptors, Of::traits);
}
