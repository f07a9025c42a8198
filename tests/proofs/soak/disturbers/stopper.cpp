#include "proofs/soak/disturbers/stopper.hpp"

#include "proofs/soak/last_words.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>

namespace growstack::soak {
namespace {

struct Order {
  pid_t thread;
  Fate fate;
  unsigned microseconds;
};

bool is_stopped(pid_t thread, int flags) {
  int status = 0;
  return waitpid(thread, &status, __WALL | flags) == thread && WIFSTOPPED(status);
}

bool interrupt(pid_t thread) {
  return ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0 && is_stopped(thread, 0);
}

/// Lets a stopped thread go on to its next call of mprotect(2), and stops it there.
bool bring_to_commit(pid_t thread) {
  constexpr int patience = 1000;  // times 200 us
  bool stopped = true;
  for (int looks = 0; looks < patience; ++looks) {
    if (stopped) {
      user_regs_struct registers{};
      ptrace(PTRACE_GETREGS, thread, nullptr, &registers);
      const bool enters = static_cast<long long>(registers.rax) == -ENOSYS;
      if (enters && registers.orig_rax == SYS_mprotect) {
        return true;
      }
      ptrace(PTRACE_SYSCALL, thread, nullptr, nullptr);
    }
    usleep(200);
    stopped = is_stopped(thread, WNOHANG);
  }
  static_cast<void>(stopped || interrupt(thread));
  return false;
}

/// Has a stopped thread make the system call exit(2) when it goes on. It must be in a system call,
/// because only there is it known that the instruction before is one.
bool make_it_exit(pid_t thread, bool enters_a_call) {
  user_regs_struct registers{};
  if (ptrace(PTRACE_GETREGS, thread, nullptr, &registers) != 0 ||
      static_cast<long long>(registers.orig_rax) < 0) {
    return false;
  }
  if (enters_a_call) {
    registers.orig_rax = SYS_exit;
  } else {
    constexpr unsigned long long size_of_instruction = 2;
    registers.rip -= size_of_instruction;
    registers.orig_rax = ~0ULL;  // or the kernel restarts the one that was interrupted
    registers.rax = SYS_exit;
  }
  registers.rdi = 0;
  return ptrace(PTRACE_SETREGS, thread, nullptr, &registers) == 0;
}

bool obey(const Order& order) {
  const bool in_commit =
      order.fate == Fate::stopped_in_commit || order.fate == Fate::ended_in_commit;
  const bool ends = order.fate == Fate::ended || order.fate == Fate::ended_in_commit;
  if (ptrace(PTRACE_SEIZE, order.thread, nullptr, PTRACE_O_TRACESYSGOOD) != 0 ||
      !interrupt(order.thread)) {
    return false;
  }
  bool done = !in_commit || bring_to_commit(order.thread);
  if (done) {
    usleep(order.microseconds);
    done = !ends || make_it_exit(order.thread, in_commit);
  }
  return ptrace(PTRACE_DETACH, order.thread, nullptr, nullptr) == 0 && done;
}

[[noreturn]] void serve(int socket) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Order order{};
  while (recv(socket, &order, sizeof order, 0) == sizeof order) {
    const int done = obey(order) ? 1 : 0;
    send(socket, &done, sizeof done, 0);
  }
  _exit(0);
}

}  // namespace

Stopper::Stopper() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    wrong("socketpair: %d", errno);
  }
  process_ = fork();
  if (process_ == 0) {
    close(ends[0]);
    serve(ends[1]);
  }
  close(ends[1]);
  socket_ = ends[0];
  prctl(PR_SET_PTRACER, process_);  // where Yama asks for it
}

Stopper::~Stopper() {
  close(socket_);
  waitpid(process_, nullptr, 0);
}

bool Stopper::have(pid_t thread, Fate fate, unsigned microseconds) {
  const Order order{thread, fate, microseconds};
  int done = 0;
  return send(socket_, &order, sizeof order, 0) == sizeof order &&
         recv(socket_, &done, sizeof done, 0) == sizeof done && done != 0;
}

pid_t thread_named(std::string_view name) {
  pid_t found = 0;
  DIR* const tasks = opendir("/proc/self/task");
  while (const dirent* const task = tasks == nullptr ? nullptr : readdir(tasks)) {
    const std::string path = std::string("/proc/self/task/") + task->d_name + "/comm";
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    std::array<char, 32> text{};
    if (file >= 0) {
      const ssize_t bytes = read(file, text.data(), text.size());
      close(file);
      if (bytes > 0 && std::string_view(text.data(), static_cast<std::size_t>(bytes) - 1) == name) {
        found = static_cast<pid_t>(std::strtol(task->d_name, nullptr, 10));
      }
    }
  }
  if (tasks != nullptr) {
    closedir(tasks);
  }
  return found;
}

}  // namespace growstack::soak
