#include "proofs/failures/verdict.hpp"

#include "proofs/failures/every_failure.hpp"

#include "support/scenario.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <map>
#include <sstream>

namespace growstack::testing {
namespace {

using Failed = std::optional<std::pair<Call, Failure>>;

Verdict bad(const std::string& why) { return {.outcome = Outcome::bad, .why = why}; }

std::string first_lines(const std::string& text) {
  return text.size() > 600 ? text.substr(0, 600) + "..." : text;
}

/// Returns what a message may call the system call: what people know it by.
std::string pattern_of(const Call& call) {
  switch (call.place.number) {
    case SYS_clone:
    case SYS_clone3:
      return "pthread_create";
    case SYS_mmap:
      return "mmap|pthread_create";  // its stack
    case SYS_mlock:
      return "mlock2";  // what libc makes of it without flags
    case SYS_mprotect:
      return "mprotect|pthread_create";
    case SYS_rt_sigaction:
      return "sigaction";
    case SYS_rt_sigprocmask:
      return "pthread_sigmask|getcontext";
    case SYS_newfstatat:
    case SYS_fstat:
    case SYS_statx:
      return "fstat";
    case SYS_ioctl:
      return "ioctl\\(UFFDIO_[A-Z]+\\)";
    default:
      return name_of(call.data).substr(0, name_of(call.data).find('('));
  }
}

/// Returns what helps against an errno: the words of lib/errors.cpp and handler/fault/report.cpp.
std::string cure_of(const std::string& error) {
  static const std::map<std::string, std::string> cures{
      {"EPERM", "allow (it|the call), or take another strategy"},
      {"ENOSYS", "allow (it|the call), or take another strategy"},
      {"EACCES", "refuses the call: allow it, or take another strategy"},
      {"EBADF", "closed [^:]*: let it close only its own"},
      {"EINVAL", "(does not know|not known) [^:]*: take another strategy"},
      {"ENOTTY", "does not know [^:]*: take another strategy"},
      {"EMFILE", "RLIMIT_NOFILE is reached[^:]*: raise it or close descriptors"},
      {"EAGAIN", "(RLIMIT_[A-Z]+|control group) [^:]*reached[^:]*(: |\\()raise it"},
      {"ENOMEM", "(reached|used up)[^:]*(: |\\()(raise it|reserve or commit less)"}};
  const auto found = cures.find(error);
  return found == cures.end() ? "the kernel failed: try again, or take another strategy"
                              : found->second;
}

/// Returns what a message lacks that should name call, errno and cure. Empty: nothing.
std::string missing_in(const std::string& message, const Failed& failed) {
  if (!failed) {
    return {};
  }
  const auto& [call, failure] = *failed;
  std::string error = name_of(failure.answer);
  // pthread_create(3) has one word for all that is used up, and so has the strategy `locked`.
  const bool has_one_word = matches(message, "(pthread_create|mlock2): EAGAIN");
  if (has_one_word) {
    error = "EAGAIN";
  }
  // mlock(2) says EPERM, too, if nothing may be locked.
  const bool locks_nothing = matches(message, "mlock2: EPERM");
  std::string missing;
  if (!matches(message, "\\b(" + pattern_of(call) + "): ")) {
    missing += "does not name the call; ";
  }
  if (!matches(message, ": " + error + "\\b")) {
    missing += "does not name the errno; ";
  }
  // What a thread needs before it can tell anybody else.
  const bool names_cure_of_attaching = matches(message, "needs: allow the call");
  if (!names_cure_of_attaching && !matches(message, cure_of(locks_nothing ? "EAGAIN" : error))) {
    missing += "names no cure for it; ";
  }
  return missing;
}

/// Returns what is wrong about the error codes that functions returned. Empty: nothing. Only the
/// errno of the call that failed is right.
std::string wrong_codes(const Run& run, const Failed& failed) {
  std::string wrong;
  for (const Returned& each : run.returned) {
    if (!failed || failed->second.answer.kind != Answer::refusal ||
        failed->second.answer.error != each.error) {
      wrong += each.function + " returned " + name_of(Answer{Answer::refusal, each.error}) + "; ";
    }
  }
  return wrong;
}

/// Returns what a process left that ended by itself. Empty: nothing.
/// What could not be given back is no leak: a descriptor that may not be closed, address space that
/// may not be unmapped (but it must not be charged any more), or the alternate stack of a thread
/// that may not take it out of use. malloc takes 1 MiB or more if the break does not move.
std::string left_by(const Run& run, const Run& usual, const Failed& failed) {
  Census allowed = usual.census;
  const long number = failed ? failed->first.place.number : 0;
  if (number == SYS_close) {
    allowed.descriptors = SIZE_MAX;
  } else if (number == SYS_munmap) {
    // The next stacks lie elsewhere, and the table of ranges gets a page for each place.
    constexpr std::size_t room_of_table = std::size_t{64} << 10;
    allowed.mapped = SIZE_MAX;
    allowed.writable += room_of_table;
  } else if (number == SYS_sigaltstack) {
    constexpr std::size_t alternate_stack = std::size_t{68} << 10;
    allowed.mapped += alternate_stack;
    allowed.writable += alternate_stack;
  } else if (number == SYS_brk) {
    constexpr std::size_t room_of_malloc = std::size_t{8} << 20;
    allowed.mapped += room_of_malloc;
    allowed.writable += room_of_malloc;
  }
  return excess(run.census, allowed);
}

std::string end_of(const Run& run) {
  std::ostringstream said;
  if (WIFSIGNALED(run.status)) {
    said << "died of " << strsignal(WTERMSIG(run.status));
  } else {
    said << "ended with exit code " << WEXITSTATUS(run.status);
  }
  said << ", standard error: " << first_lines(run.err);
  return said.str();
}

/// What libc says when it cannot go on without a call of its own.
bool is_libc_s(const std::string& err) {
  return contains(err, "The futex facility returned an unexpected error code") ||
         contains(err, "Fatal glibc error: rseq registration failed");
}

/// Standard error takes nothing: then nobody can be told.
bool cannot_be_told(const Call& call, const Failure& failure) {
  return call.place.number == SYS_write && call.data.args[0] == STDERR_FILENO &&
         failure.answer.kind == Answer::refusal && failure.answer.error != EINTR &&
         failure.answer.error != EAGAIN;
}

/// The exit code with which libc ends a process that it cannot give the context back to which
/// uc_link names.
constexpr int end_of_context = 255;

Verdict judge_death(const Run& run, const Failed& failed, const Ending& ending) {
  if (!ending.report.empty() && contains(run.err, ending.report)) {
    return {.outcome = Outcome::report, .why = {}};
  }
  if (failed && cannot_be_told(failed->first, failed->second)) {
    return {.outcome = Outcome::report, .why = {}};
  }
  if (is_libc_s(run.err)) {
    return {.outcome = Outcome::libc, .why = {}};
  }
  if (!run.err.starts_with("growstack: ")) {
    return bad(end_of(run));
  }
  const std::string missing = missing_in(run.err.substr(0, run.err.find('\n')), failed);
  return missing.empty() ? Verdict{.outcome = Outcome::report, .why = {}}
                         : bad("the report " + missing + end_of(run));
}

}  // namespace

Verdict judge(const Run& run, const Run& usual, const Failed& failed, const Ending& ending) {
  const bool is_told = run.err.starts_with("growstack: ") &&
                       missing_in(run.err.substr(0, run.err.find('\n')), failed).empty();
  if (run.is_stopped && ending.child_may_stay && is_told) {
    return {.outcome = Outcome::report, .why = {}};
  }
  if (run.is_stopped) {
    return bad("hangs; standard error: " + first_lines(run.err));
  }
  if (!run.wrong.empty()) {
    std::string all;
    for (const std::string& each : run.wrong) {
      all += each + "; ";
    }
    for (const Returned& each : run.returned) {
      all += each.function + " returned " + name_of(Answer{Answer::refusal, each.error}) + "; ";
    }
    return bad("wrong: " + all + (run.threw ? " threw " + *run.threw : "") + first_lines(run.err));
  }
  if (const std::string codes = wrong_codes(run, failed); !codes.empty()) {
    return bad(codes);
  }
  if (WIFSIGNALED(run.status)) {
    return judge_death(run, failed, ending);
  }
  if (failed && failed->first.place.number == SYS_rt_sigprocmask && !run.is_finished &&
      WEXITSTATUS(run.status) == end_of_context) {
    return {.outcome = Outcome::libc, .why = {}};
  }
  const bool has_end = !ending.report.empty() && !run.threw && !run.threw_bad_alloc;
  if (!run.is_finished || WEXITSTATUS(run.status) != 0 || has_end) {
    return bad("is not finished: " + end_of(run));
  }
  if (!ending.report.empty()) {
    // It did not come to its report, so nothing says what else there should be.
  } else if (const std::string left = left_by(run, usual, failed); !left.empty()) {
    return bad("leaves " + left);
  }
  if (run.threw) {
    const std::string missing = missing_in(*run.threw, failed);
    return missing.empty() ? Verdict{.outcome = Outcome::exception, .why = {}}
                           : bad("the exception " + missing + *run.threw);
  }
  return {.outcome = run.threw_bad_alloc     ? Outcome::bad_alloc
                     : !run.returned.empty() ? Outcome::returned
                                             : Outcome::works,
          .why = {}};
}

}  // namespace growstack::testing
