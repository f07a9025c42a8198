#include "errors.hpp"

#include "memory/proc_text.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/without_cancellation.hpp>

#include <growstack/strategy.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>

namespace growstack {
namespace {

constexpr std::string_view prefix = "growstack: ";

constexpr const char* locked_memory_is_used_up =
    "RLIMIT_MEMLOCK is reached (ulimit -l): raise it; after mlockall(MCL_FUTURE) every reservation "
    "counts, touched or not";
constexpr const char* threads_are_used_up =
    "no more threads: RLIMIT_NPROC (ulimit -u), kernel.threads-max or the pids.max of the control "
    "group is reached: raise it or use fewer threads";

/// Returns the value of a line "Name:   123 kB" of /proc/self/status in bytes, or 0 if there is no
/// such line.
std::uint64_t status_bytes(std::string_view name) {
  std::ifstream status("/proc/self/status");
  return bytes_in_line(status, name);
}

std::uint64_t mapping_count() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::uint64_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

std::uint64_t number_in(const char* path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  file >> number;
  return number;
}

bool exceeds(int resource, std::uint64_t used, std::size_t wanted, std::uint64_t& allowed) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return false;
  }
  allowed = limit.rlim_cur;
  return used + wanted > allowed;
}

std::string strategies_that_commit_as_they_grow() {
  std::string names;
  for (const StrategyDescription& each : strategies()) {
    if (each.charge == DataCharge::as_it_grows) {
      names += (names.empty() ? "" : " and ") + std::string(each.name);
    }
  }
  return names;
}

/// Finds the cause of ENOMEM, which has half a dozen, or of EAGAIN, which stands for some of them
/// and for one more.
std::string limit_hit(int error, std::size_t bytes, const char* meaning_of_eagain) {
  const handler::WithoutCancellation without_cancellation;  // the destructor of a file closes it
  constexpr std::uint64_t mappings_at_once = 8;             // making one stack takes no more
  std::uint64_t allowed = 0;
  if (error != EMFILE && !std::ifstream("/proc/self/status")) {
    return (error == EAGAIN ? std::string(meaning_of_eagain) + "; or " : std::string()) +
           "RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK (ulimit -v, -d, -l), vm.max_map_count or the "
           "commit limit is reached: raise it or commit less; /proc, which would tell which one, "
           "cannot be read";
  }
  if (exceeds(RLIMIT_AS, status_bytes("VmSize:"), bytes, allowed)) {
    return "RLIMIT_AS is reached (" + in_bytes(allowed) +
           "; ulimit -v): raise it or reserve less; address space is taken in multiples of 64 MiB";
  }
  const std::uint64_t most_mappings = number_in("/proc/sys/vm/max_map_count");
  if (most_mappings != 0 && mapping_count() + mappings_at_once >= most_mappings) {
    return "vm.max_map_count is reached (" + std::to_string(most_mappings) +
           " mappings): raise it (sysctl vm.max_map_count) or use fewer stacks";
  }
  if (exceeds(RLIMIT_DATA, status_bytes("VmData:"), bytes, allowed)) {
    return "RLIMIT_DATA is reached (" + in_bytes(allowed) +
           "; ulimit -d): raise it or commit less; " + strategies_that_commit_as_they_grow() +
           " commit as they grow, others all of the reserve at once";
  }
  const std::uint64_t locked = status_bytes("VmLck:");
  if (locked != 0 && exceeds(RLIMIT_MEMLOCK, locked, bytes, allowed)) {
    return "RLIMIT_MEMLOCK is reached (" + in_bytes(allowed) +
           "; ulimit -l): raise it; after mlockall(MCL_FUTURE) every reservation counts, touched "
           "or not";
  }
  if (error == EMFILE) {
    return "RLIMIT_NOFILE is reached (ulimit -n): raise it or close descriptors";
  }
  if (error == EAGAIN) {
    return meaning_of_eagain;
  }
  if (number_in("/proc/sys/vm/overcommit_memory") == 2) {
    return "vm.overcommit_memory is 2, and the commit limit is reached (CommitLimit in "
           "/proc/meminfo): raise it or commit less";
  }
  return "the address space or the memory is used up: reserve or commit less";
}

/// Returns what an errno means that no limit explains.
std::string no_limit_hit(int error) {
  switch (error) {
    case EPERM:
    case ENOSYS:
    case EACCES:
      return "a seccomp filter or a security module refuses the call: allow it, or take another "
             "strategy";
    case EBADF:
      return "the program closed a descriptor of this library: let it close only its own";
    case EINVAL:
      return "this kernel does not know what it is asked for (Linux 5.9 does): take another "
             "strategy";
    default:
      return "the kernel failed: try again, or take another strategy";
  }
}

[[noreturn]] void fail_naming_limit(int error, const std::string& what, std::size_t bytes,
                                    const char* meaning_of_eagain) {
  const std::string refusal = refusal_of(error);  // before other calls of this thread fail
  const bool has_limit = error == ENOMEM || error == EAGAIN || error == EMFILE;
  fail(error, what + ": " + refusal + ": " +
                  (has_limit ? limit_hit(error, bytes, meaning_of_eagain) : no_limit_hit(error)));
}

}  // namespace

void fail(int error, const std::string& message) {
  throw std::system_error(error, std::generic_category(), std::string(prefix) + message);
}

std::string name_of_errno(int error) {
  const char* const name = handler::errno_name(error);
  return name == nullptr ? "errno " + std::to_string(error) : std::string(name);
}

std::string refusal_of(int error) {
  const char* const call = handler::call_that_failed(error);
  return (call == nullptr ? std::string() : std::string(call) + ": ") + name_of_errno(error);
}

std::string reason_of(const std::system_error& error) {
  std::string reason = error.what();
  if (reason.starts_with(prefix)) {
    reason.erase(0, prefix.size());
  }
  if (const std::string meaning = ": " + error.code().message(); reason.ends_with(meaning)) {
    reason.erase(reason.size() - meaning.size());
  }
  return reason;
}

void fail_for_memory(int error, const std::string& what, std::size_t bytes) {
  fail_naming_limit(error, what, bytes, locked_memory_is_used_up);
}

void fail_for_thread(int error, const std::string& what, std::size_t bytes) {
  // A thread needs memory, too: mmap(2) says EAGAIN if that cannot be locked.
  const char* const call = handler::call_that_failed(error);
  const bool is_refused_memory = call != nullptr && std::string_view(call) != "pthread_create";
  fail_naming_limit(error, what, bytes,
                    is_refused_memory ? locked_memory_is_used_up : threads_are_used_up);
}

int error_of_growth(int error) noexcept {
  return error == EDQUOT || error == EDOM ? ENOMEM : error;
}

std::string in_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> units{"bytes", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + " " + std::string(units[unit]);
}

}  // namespace growstack
