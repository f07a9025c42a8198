// What containers and sandboxes take away: privileges, system calls, files, other processes.
#include <doctest/doctest.h>

#include "proofs/running_out/shortage.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/system_call_filter.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>

using namespace growstack::testing;

namespace {

std::string why_no_root() {
  return geteuid() == 0 ? "" : "only root may do this (run the test as root)";
}

// ---- privileges ---------------------------------------------------------------------------------

// The process belongs to another user from then on, and may not read all of its own /proc/self.
const NamedShortage other_user(
    "setuid",
    {.begin = [](const Traits&) { require(become_nobody(), "the process can change its user"); },
     .error = "^growstack: locked: .*RLIMIT_MEMLOCK.*raise it"});

const NamedShortage no_new_privileges("no_new_privs",
                                      {.begin =
                                           [](const Traits&) {
                                             require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0,
                                                     "it is set");
                                           },
                                       .error = "^$"});

// ---- filters on system calls --------------------------------------------------------------------

/// What container runtimes refuse by default (Docker, Podman, systemd-nspawn), as far as anything
/// here might want it.
constexpr std::array refused_in_containers{SYS_userfaultfd,
                                           SYS_unshare,
                                           SYS_setns,
                                           SYS_kcmp,
                                           SYS_ptrace,
                                           SYS_process_vm_readv,
                                           SYS_process_vm_writev,
                                           SYS_perf_event_open,
                                           SYS_bpf,
                                           SYS_mount,
                                           SYS_move_pages,
                                           SYS_mbind,
                                           SYS_set_mempolicy,
                                           SYS_get_mempolicy,
                                           SYS_name_to_handle_at,
                                           SYS_open_by_handle_at};

/// What a stricter one refuses besides, and a stack can do without.
constexpr std::array refused_by_strict{SYS_membarrier,
                                       SYS_sched_setaffinity,
                                       SYS_sched_getaffinity,
                                       SYS_sched_setattr,
                                       SYS_sched_getattr,
                                       SYS_sched_setscheduler,
                                       SYS_prctl,
                                       SYS_mlock,
                                       SYS_mlock2,
                                       SYS_munlock,
                                       SYS_mincore};

template <unsigned error, bool is_strict>
void refuse_calls(const Traits&) {
  SystemCallFilter filter;
  for (const long call : refused_in_containers) {
    filter.add(SCMP_ACT_ERRNO(error), call);
  }
  if (is_strict) {
    for (const long call : refused_by_strict) {
      filter.add(SCMP_ACT_ERRNO(error), call);
    }
  }
  // Who may open /dev/userfaultfd is a question of its permissions, which a container does not
  // give.
  filter.add(SCMP_ACT_ERRNO(EPERM), SYS_ioctl, {argument_is(1, 0xAA00)});
  filter.install_for_all_threads();
}

constexpr const char* names_the_filter =
    "(userfaultfd|mlock2)[^\n]*(seccomp|filter|allow|EPERM|not permitted)";

const NamedShortage container("container",
                              {.begin = refuse_calls<EPERM, false>, .error = names_the_filter});
const NamedShortage unknown_calls("unknown calls", {.begin = refuse_calls<ENOSYS, false>,
                                                    .error = names_the_filter});
const NamedShortage strict("strict filter",
                           {.begin = refuse_calls<EPERM, true>, .error = names_the_filter});

// ---- files --------------------------------------------------------------------------------------

int old_root = -1;

/// Makes an empty directory the root: there is no /proc, no /sys and no /dev.
void enter_empty_root(const Traits&) {
  char path[] = "/tmp/growstack_empty_root_XXXXXX";
  old_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  require(old_root >= 0 && mkdtemp(path) != nullptr, "there is an empty directory");
  require(chroot(path) == 0, "it becomes the root");
  require(fchdir(old_root) == 0 && rmdir(path + 1) == 0, "it can go");
}

void leave_empty_root() {
  require(fchdir(old_root) == 0 && chroot(".") == 0, "the old root is the root again");
  close(old_root);
}

const NamedShortage no_files("chroot", {.begin = enter_empty_root,
                                        .end = leave_empty_root,
                                        .error = "^$",
                                        .may_leave = is_grown_by_kernel,
                                        .why_not = why_no_root});

// There is no file from which to read how much of a limit is used up.
const NamedShortage no_files_no_space(
    "chroot and RLIMIT_AS",
    {.begin =
         [](const Traits& of) {
           const std::size_t size = status_bytes("VmSize");
           enter_empty_root(of);
           set_soft_limit(RLIMIT_AS, size + 64 * KiB);
         },
     .end =
         [] {
           raise_soft_limit(RLIMIT_AS);
           leave_empty_root();
         },
     .error = "(ENOMEM|EAGAIN): .*RLIMIT_AS, .*raise it or commit less; /proc, .* cannot be read",
     .report = "RLIMIT_AS is reached: raise it",
     .may_leave = is_grown_by_kernel,
     .why_not = why_no_root});

/// Closes standard input, output and error. What says that a trial failed goes to a copy.
void close_standard_streams(const Traits&) {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    close(descriptor);
  }
}

int copy_of_error = -1;

const NamedShortage no_streams(
    "closed standard streams",
    {.begin =
         [](const Traits& of) {
           copy_of_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
           close_standard_streams(of);
         },
     .end =
         [] {
           for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
             require(fcntl(descriptor, F_GETFD) < 0 && errno == EBADF,
                     "nothing of ours has the number of a standard stream");
             dup2(copy_of_error, descriptor);
           }
           close(copy_of_error);
         },
     .error = "^$"});

// ---- namespaces ---------------------------------------------------------------------------------

const NamedShortage first_process("first process",
                                  {.begin =
                                       [](const Traits&) {
                                         require(unshare(CLONE_NEWPID) == 0, "a new namespace");
                                         go_on_in_child();
                                         require(getpid() == 1, "it is the first process there");
                                       },
                                   .error = "^$",
                                   .why_not = why_no_root});

std::string why_no_user_namespace() {
  return end_of_child([] { return unshare(CLONE_NEWUSER) == 0 ? 0 : 1; }) == 0
             ? ""
             : "unshare(CLONE_NEWUSER) is forbidden here";
}

const NamedShortage user_namespace(
    "user namespace",
    {.begin =
         [](const Traits&) {
           go_on_in_child();  // a namespace of users takes a process of one thread
           require(unshare(CLONE_NEWUSER) == 0, "a new namespace");
         },
     .error = "^growstack: locked: .*RLIMIT_MEMLOCK.*raise it",
     .why_not = why_no_user_namespace});

}  // namespace

EVERY_STRATEGY("after the process has become another user's, a stack works or says why not") {
  check(other_user, Of::traits);
}

EVERY_STRATEGY("a process that may get no new privileges has stacks that work") {
  check(no_new_privileges, Of::traits);
}

EVERY_STRATEGY("under a container's filter a stack works, or names the call and the cure") {
  check(container, Of::traits);
}

EVERY_STRATEGY("under a filter to which calls are unknown, a stack works or names the call") {
  check(unknown_calls, Of::traits);
}

EVERY_STRATEGY("under a filter that refuses all that a stack can do without, it does without") {
  check(strict, Of::traits);
}

EVERY_STRATEGY("in a root without any file, /proc and /sys among them, a stack works") {
  check(no_files, Of::traits);
}

EVERY_STRATEGY("without address space and without /proc a stack works, or says what is missing") {
  check(no_files_no_space, Of::traits);
}

EVERY_STRATEGY(
    "a process without standard streams has stacks that work, and nothing writes there") {
  check(no_streams, Of::traits);
}

EVERY_STRATEGY("the first process of a container has stacks that work") {
  check(first_process, Of::traits);
}

EVERY_STRATEGY("in a namespace of users a stack works, or says what is missing") {
  check(user_namespace, Of::traits);
}
