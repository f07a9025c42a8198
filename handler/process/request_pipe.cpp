// Opens the request pipe and starts the helper at its other end; ends both.
#include "process/request_pipe.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/handler.hpp>

#include "anywhere/fork_wiped.hpp"
#include "fault/request.hpp"
#include "process/life_cycle_lock.hpp"
#include "threads/helper.hpp"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace growstack::handler {
namespace {

/// Creates the pipe. The write end becomes request_pipe; the read end is for the helper to take
/// over. Returns 0 or an errno.
int open_request_pipe(int& read_end) noexcept {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return failed(SystemCall::pipe2);
  }
  int error = 0;
  for (int& end : ends) {
    end = above_standard_streams(end);
    error = end < 0 ? failed(SystemCall::fcntl) : error;
  }
  if (error == 0) {
    error = fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0 ? request_pipe.set(ends[1])
                                                     : failed(SystemCall::fcntl);
  }
  if (error != 0) {
    for (const int end : ends) {
      close_quietly(end);
    }
    return error;
  }
  read_end = ends[0];
  return 0;
}

/// Returns whether the calling thread has another descriptor table than the process (unshare(2)).
/// False if the kernel cannot tell.
bool has_own_descriptor_table() noexcept {
  return syscall(SYS_kcmp, getpid(), syscall(SYS_gettid), KCMP_FILES, 0, 0) > 0;
}

bool helper_is_reachable() noexcept {
  return fork_wiped()->helper_runs.load(std::memory_order_acquire) != 0 &&
         request_pipe.verified() >= 0;
}

}  // namespace

int start_helper() noexcept {
  const LifeCycleLock lock;
  if (fork_wiped() == nullptr) {
    return ENXIO;  // install() comes first
  }
  if (helper_is_reachable()) {
    return 0;
  }
  // Such a thread commits by itself. What it closed, or never had, says nothing about the others.
  if (the_helper.is_started() && has_own_descriptor_table()) {
    return 0;
  }
  // If there is a helper, the program closed its pipe. The helper sees end-of-file, unless a forked
  // child has the write end as well.
  the_helper.abandon();
  request_pipe.close();  // in a forked child, this is the parent's
  int read_end = -1;
  if (const int error = open_request_pipe(read_end); error != 0) {
    return error;
  }
  const int error = the_helper.start(read_end);
  close_quietly(read_end);  // the helper has its own
  if (error != 0) {
    request_pipe.close();
  }
  return error;
}

void end_helper() noexcept {
  the_helper.end();
  request_pipe.close();
}

}  // namespace growstack::handler
