// Opens the request pipe and starts the helper at its other end; ends both.
#include "process/request_pipe.hpp"

#include <growstack/handler/handler.hpp>

#include "anywhere/fork_wiped.hpp"
#include "fault/request.hpp"
#include "process/life_cycle_lock.hpp"
#include "threads/helper.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace growstack::handler {
namespace {

/// Creates the pipe. The write end becomes request_pipe; the read end is for the helper to take
/// over. Returns 0 or an errno.
int open_request_pipe(int& read_end) noexcept {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return errno;
  }
  int error = fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
  if (error == 0) {
    error = request_pipe.set(ends[1]);
  }
  if (error != 0) {
    close(ends[0]);
    close(ends[1]);
    return error;
  }
  read_end = ends[0];
  return 0;
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
  // If there is a helper, the program closed its pipe. The helper sees end-of-file, unless a forked
  // child has the write end as well.
  the_helper.abandon();
  request_pipe.close();  // in a forked child, this is the parent's
  int read_end = -1;
  if (const int error = open_request_pipe(read_end); error != 0) {
    return error;
  }
  const int error = the_helper.start(read_end);
  close(read_end);  // the helper has its own
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
