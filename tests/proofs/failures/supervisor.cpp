#include "proofs/failures/supervisor.hpp"

#include "proofs/failures/trial.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace growstack::testing {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// The library's own patience ends after ten seconds (a report, the end of a thread).
constexpr auto patience = 25s;

/// The number of the socket by which the child hands the listener over. No other call may use it.
constexpr int hand_over_socket = 99;

void check(bool works, const char* what) {
  if (!works) {
    throw std::system_error(errno, std::generic_category(), what);
  }
}

// ---- the child: filter and listener -------------------------------------------------------------

/// Returns the listener of a filter that lets every call wait for the supervisor's word, except
/// those which return to nobody, and the one that hands the listener over.
int install_filter() {
  const auto number = static_cast<std::uint32_t>(offsetof(seccomp_data, nr));
  const auto first_argument = static_cast<std::uint32_t>(offsetof(seccomp_data, args));
  std::array<sock_filter, 9> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendmsg, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, first_argument),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, hand_over_socket, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
  }};
  const sock_fprog filter{.len = program.size(), .filter = program.data()};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return static_cast<int>(
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
}

/// A message of one descriptor.
struct DescriptorMessage {
  char byte = 0;
  iovec text{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{.msg_name = nullptr,
                .msg_namelen = 0,
                .msg_iov = &text,
                .msg_iovlen = 1,
                .msg_control = control.data(),
                .msg_controllen = control.size(),
                .msg_flags = 0};
};

void hand_over(int descriptor) {
  DescriptorMessage message;
  cmsghdr* const part = CMSG_FIRSTHDR(&message.header);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(part), &descriptor, sizeof descriptor);
  syscall(SYS_sendmsg, hand_over_socket, &message.header, 0);
}

int take_over(int socket) {
  DescriptorMessage message;
  check(recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC) == 1, "no listener came");
  const cmsghdr* const part = CMSG_FIRSTHDR(&message.header);
  if (part == nullptr) {
    throw std::runtime_error("no listener came");
  }
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(part), sizeof descriptor);
  return descriptor;
}

// ---- what is read of the child ------------------------------------------------------------------

pid_t process_of(pid_t thread) {
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Tgid:")) {
      return static_cast<pid_t>(std::stol(line.substr(5)));
    }
  }
  return 0;
}

std::vector<pid_t> threads_of(pid_t process) {
  std::vector<pid_t> threads;
  std::error_code gone;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task", gone)) {
    threads.push_back(static_cast<pid_t>(std::stol(entry.path().filename())));
  }
  std::sort(threads.begin(), threads.end());
  return threads;
}

std::string name_of_thread(pid_t thread) {
  std::ifstream file("/proc/" + std::to_string(thread) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

std::string path_of(pid_t thread, std::uint64_t descriptor) {
  return "/proc/" + std::to_string(thread) + "/fd/" + std::to_string(descriptor);
}

/// Returns whether a call may transfer less than was asked for. A pipe gives whole messages.
bool gives_parts(pid_t thread, const seccomp_data& call) {
  std::error_code gone;
  return (call.nr == SYS_write && call.args[0] == STDERR_FILENO) ||
         (call.nr == SYS_read &&
          std::filesystem::is_regular_file(path_of(thread, call.args[0]), gone));
}

bool sleeps(pid_t thread) {
  std::ifstream file("/proc/" + std::to_string(thread) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t state = text.rfind(')') + 2;
  return state >= text.size() || text[state] != 'R';
}

bool read_memory(pid_t process, std::uintptr_t from, void* to, std::size_t bytes) {
  const iovec here{.iov_base = to, .iov_len = bytes};
  const iovec there{.iov_base = reinterpret_cast<void*>(from), .iov_len = bytes};
  return process_vm_readv(process, &here, 1, &there, 1, 0) == static_cast<ssize_t>(bytes);
}

std::string text_at(pid_t process, std::uintptr_t address) {
  std::string text;
  for (char next = 0; text.size() < 4096 && read_memory(process, address + text.size(), &next, 1) &&
                      next != '\0';) {
    text += next;
  }
  return text;
}

/// Returns whether a touch of any page there is a fault, which the kernel answers with EFAULT.
bool is_guarded(pid_t process, std::uintptr_t begin, std::uintptr_t end) {
  constexpr std::uintptr_t page = 4096;
  for (std::uintptr_t at = begin; at < end; at += page) {
    char byte = 0;
    if (read_memory(process, at, &byte, 1)) {
      return false;
    }
  }
  return true;
}

/// Threads that have been joined may have a last step to go.
Census census_at_rest(pid_t process) {
  constexpr int most_looks = 50;
  Census census = census_of(process);
  for (int look = 1; census.threads > 1 && look < most_looks; ++look) {
    usleep(10'000);
    census = census_of(process);
  }
  return census;
}

// ---- the supervisor -----------------------------------------------------------------------------

class Supervisor {
 public:
  Supervisor(pid_t child, int listener, int err, int err_for_child, const Failure* failure)
      : child_(child),
        listener_(listener),
        err_(err),
        err_for_child_(err_for_child),
        failure_(failure) {
    // Linux 6.6: wakes the supervisor on the processor of the call. Without it, all is the same.
    constexpr auto set_flags = SECCOMP_IOW(4, std::uint64_t);
    ioctl(listener_, set_flags, 1UL);
  }

  Run run() {
    const auto begin = Clock::now();
    while (serve(begin)) {
    }
    waitpid(child_, &result_.status, 0);
    read_err();
    result_.took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
    for (Call& call : result_.calls) {
      call.thread = names_[{call.place.process, call.place.thread}];
    }
    return std::move(result_);
  }

 private:
  struct Thread {
    pid_t process = 0;
    unsigned process_number = 0;
    unsigned number = 0;
    bool is_spared = false;
    std::map<long, unsigned> counts;
  };

  /// Returns false when nobody is left who could call.
  bool serve(Clock::time_point begin) {
    std::array<pollfd, 2> sources{{{listener_, POLLIN, 0}, {err_, POLLIN, 0}}};
    const int wait_ms = settling_ ? 1 : 200;
    const int ready = poll(sources.data(), sources.size(), wait_ms);
    if (Clock::now() - begin > patience) {
      result_.is_stopped = true;
      kill(-child_, SIGKILL);
      kill(child_, SIGKILL);
      return false;
    }
    if ((sources[1].revents & POLLIN) != 0) {
      read_err();
    }
    if ((sources[0].revents & POLLIN) != 0) {
      serve_call();
    } else if ((sources[0].revents & POLLHUP) != 0) {
      return false;
    }
    if (ready == 0 && settling_ && (others_sleep() || Clock::now() > settle_by_)) {
      is_watching_ = false;
      send(*std::exchange(settling_, std::nullopt), 0);
    }
    return true;
  }

  void read_err() {
    std::array<char, 4096> buffer;
    for (ssize_t bytes = 1; (bytes = read(err_, buffer.data(), buffer.size())) > 0;) {
      result_.err.append(buffer.data(), static_cast<std::size_t>(bytes));
    }
  }

  void serve_call() {
    seccomp_notif asked{};
    if (ioctl(listener_, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) {
      return;  // a signal came first, or the thread is gone
    }
    const auto thread_id = static_cast<pid_t>(asked.pid);
    Thread& thread = thread_of(thread_id);
    if (asked.data.nr == asking) {
      return answer_question(asked, thread);
    }
    if (std::exchange(thread.is_spared, false) || !is_watching_ ||
        asked.data.nr == SYS_restart_syscall) {
      return let_kernel(asked.id);
    }
    const Place place{.process = thread.process_number,
                      .thread = thread.number,
                      .number = asked.data.nr,
                      .occurrence = thread.counts[asked.data.nr]++};
    if (failure_ == nullptr) {
      result_.calls.push_back({.place = place,
                               .data = asked.data,
                               .gives_parts = gives_parts(thread_id, asked.data),
                               .thread = {}});
      names_[{place.process, place.thread}] = name_of_thread(thread_id);
    }
    if (!shall_fail(place)) {
      return let_kernel(asked.id);
    }
    fail(asked, thread);
  }

  bool shall_fail(const Place& place) const {
    return failure_ != nullptr &&
           (place == failure_->place ||
            (failure_->for_good && result_.has_failed && place.number == failure_->place.number));
  }

  void fail(const seccomp_notif& asked, const Thread& thread) {
    switch (failure_->answer.kind) {
      case Answer::refusal:
        result_.has_failed = true;
        return send(asked.id, 0, -failure_->answer.error);
      case Answer::nothing:
        result_.has_failed = true;
        return send(asked.id, 0);
      case Answer::one_byte:
        result_.has_failed = transfer_one_byte(asked.data, thread.process);
        result_.has_no_part = !result_.has_failed;
        return result_.has_failed ? send(asked.id, 1) : let_kernel(asked.id);
    }
  }

  /// Does a part of what was asked for, in place of the process. Returns false, and has done
  /// nothing, if there is no part: at the end of a file.
  bool transfer_one_byte(const seccomp_data& call, pid_t process) const {
    char byte = 0;
    if (call.nr == SYS_write) {
      return call.args[2] > 1 && read_memory(process, call.args[1], &byte, 1) &&
             write(err_for_child_, &byte, 1) == 1;
    }
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, process, 0));
    const int file = static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, call.args[0], 0));
    const bool is_read = call.args[2] > 1 && file >= 0 && read(file, &byte, 1) == 1;
    close(file);
    close(pidfd);
    const iovec here{.iov_base = &byte, .iov_len = 1};
    const iovec there{.iov_base = reinterpret_cast<void*>(call.args[1]), .iov_len = 1};
    return is_read && process_vm_writev(process, &here, 1, &there, 1, 0) == 1;
  }

  void answer_question(const seccomp_notif& asked, Thread& thread) {
    const auto& arguments = asked.data.args;
    switch (static_cast<Ask>(arguments[0])) {
      case Ask::watch:
        is_watching_ = true;
        break;
      case Ask::unwatch:
        asker_ = thread.process;
        settling_ = asked.id;
        settle_by_ = Clock::now() + 300ms;
        return;
      case Ask::spare:
        thread.is_spared = true;
        break;
      case Ask::wrong:
        result_.wrong.push_back(text_at(thread.process, arguments[1]));
        break;
      case Ask::threw:
        result_.threw = text_at(thread.process, arguments[1]);
        break;
      case Ask::bad_alloc:
        result_.threw_bad_alloc = true;
        break;
      case Ask::returned:
        result_.returned.push_back({.error = static_cast<int>(arguments[1]),
                                    .function = text_at(thread.process, arguments[2])});
        break;
      case Ask::resident:
        return send(asked.id, resident_bytes(thread.process, arguments[1], arguments[2]));
      case Ask::guarded:
        return send(asked.id, is_guarded(thread.process, arguments[1], arguments[2]) ? 1 : 0);
      case Ask::census:
        result_.census = census_at_rest(thread.process);
        break;
      case Ask::finished:
        result_.is_finished = true;
        break;
    }
    send(asked.id, 0);
  }

  bool others_sleep() const {
    const std::vector<pid_t> threads = threads_of(asker_);
    return std::all_of(threads.begin(), threads.end(), sleeps);
  }

  /// The kernel numbers threads and processes in the order of their birth.
  Thread& thread_of(pid_t id) {
    const auto known = threads_.find(id);
    if (known != threads_.end()) {
      return known->second;
    }
    const pid_t process = process_of(id);
    const unsigned process_number =
        processes_.try_emplace(process, static_cast<unsigned>(processes_.size())).first->second;
    for (const pid_t each : threads_of(process)) {
      if (!threads_.contains(each)) {
        threads_[each] = {.process = process,
                          .process_number = process_number,
                          .number = births_[process]++,
                          .is_spared = false,
                          .counts = {}};
      }
    }
    return threads_[id];
  }

  void let_kernel(std::uint64_t id) {
    seccomp_notif_resp response{
        .id = id, .val = 0, .error = 0, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }

  void send(std::uint64_t id, std::int64_t value, int error = 0) {
    seccomp_notif_resp response{.id = id, .val = value, .error = error, .flags = 0};
    ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }

  pid_t child_;
  int listener_;
  int err_;
  int err_for_child_;
  const Failure* failure_;
  Run result_;
  bool is_watching_ = false;
  pid_t asker_ = 0;
  std::optional<std::uint64_t> settling_;  ///< the question that is answered when all is quiet
  Clock::time_point settle_by_;
  std::map<pid_t, Thread> threads_;
  std::map<pid_t, unsigned> processes_;
  std::map<pid_t, unsigned> births_;
  std::map<std::pair<unsigned, unsigned>, std::string> names_;
};

[[noreturn]] void be_watched(const std::function<void()>& body, int socket, int err) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(err, STDERR_FILENO);
  dup2(socket, hand_over_socket);
  const int listener = install_filter();
  hand_over(listener);
  close_range(3, ~0U, 0);
  body();
  _exit(0);
}

/// Keeps the supervisor and what it watches on one processor, the one that is free now: to wake the
/// other one for each call takes many times as long.
void stay_on_one_processor() {
  static const cpu_set_t all = [] {
    cpu_set_t processors;
    sched_getaffinity(0, sizeof processors, &processors);
    return processors;
  }();
  sched_setaffinity(0, sizeof all, &all);
  const int here = sched_getcpu();
  if (here >= 0) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(here, &one);
    sched_setaffinity(0, sizeof one, &one);
  }
}

}  // namespace

Run run_watched(const std::function<void()>& body, const Failure* failure) {
  stay_on_one_processor();
  std::array<int, 2> sockets{};
  std::array<int, 2> err{};
  check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) == 0, "socketpair");
  check(pipe2(err.data(), O_CLOEXEC) == 0, "pipe2");
  fcntl(err[0], F_SETFL, O_NONBLOCK);
  std::fflush(stdout);  // a child of it may call exit(3)
  const pid_t child = fork();
  check(child >= 0, "fork");
  if (child == 0) {
    be_watched(body, sockets[1], err[1]);
  }
  const int listener = take_over(sockets[0]);
  Run run = Supervisor(child, listener, err[0], err[1], failure).run();
  for (const int each : {sockets[0], sockets[1], err[0], err[1], listener}) {
    close(each);
  }
  return run;
}

}  // namespace growstack::testing
