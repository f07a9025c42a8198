#include "proofs/soak/last_words.hpp"

#include <growstack/stack.hpp>

#include "machine/machine.hpp"

#include "proofs/soak/counts.hpp"
#include "proofs/soak/world.hpp"

#include <dirent.h>
#include <execinfo.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace growstack::soak {
namespace {

std::atomic<bool> is_child{false};
std::atomic<bool> dying{false};

std::string first_line_of(const std::string& path) {
  std::array<char, 256> text{};
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return "?";
  }
  const ssize_t bytes = read(file, text.data(), text.size() - 1);
  close(file);
  std::string line(text.data(), bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  return line.substr(0, line.find('\n'));
}

/// Writes where the kernel says that each thread waits.
void tell_threads() {
  DIR* const tasks = opendir("/proc/self/task");
  while (const dirent* const task = tasks == nullptr ? nullptr : readdir(tasks)) {
    if (task->d_name[0] != '.') {
      const std::string path = std::string("/proc/self/task/") + task->d_name;
      std::fprintf(stderr, "thread %s, %s: wchan %s, syscall %s\n", task->d_name,
                   first_line_of(path + "/comm").c_str(), first_line_of(path + "/wchan").c_str(),
                   first_line_of(path + "/syscall").c_str());
    }
  }
}

/// Writes the addresses of the frames. addr2line(1) makes names of them.
void tell_trace() {
  std::array<void*, 48> frames{};
  const int count = backtrace(frames.data(), static_cast<int>(frames.size()));
  backtrace_symbols_fd(frames.data(), count, STDERR_FILENO);
}

/// Writes where an address lies in a stack of the library.
void tell_stack_at(const char* what, const void* address) {
  if (const auto bounds = stack_bounds(address)) {
    std::fprintf(stderr, "%s lies in the stack with base %p, limit %p, floor %p, guard %p\n", what,
                 bounds->base, bounds->limit, bounds->floor, bounds->guard);
  }
}

void on_crash(int signal, siginfo_t* info, void* context) {
  if (is_child || world == nullptr) {
    struct sigaction by_default {};
    by_default.sa_handler = SIG_DFL;
    sigaction(signal, &by_default, nullptr);
    return;  // the instruction faults again
  }
  if (dying.exchange(true)) {
    pause();  // somebody else dies already
  }
  std::fprintf(stderr, "growstack_soak: signal %d, code %d, address %p\n", signal, info->si_code,
               info->si_addr);
  tell_stack_at("it", info->si_addr);
  const auto& registers = *static_cast<const ucontext_t*>(context);
  const std::uintptr_t pointer = handler::ThisMachine::stack_pointer(registers);
  std::fprintf(stderr, "the stack pointer is %#lx; the page was %s\n", pointer,
               handler::ThisMachine::page_present(registers) ? "there" : "not there");
  tell_stack_at("the stack pointer", reinterpret_cast<const void*>(pointer));
  tell_trace();
  tell_state_of_all();
  std::abort();
}

}  // namespace

void tell_state_of_all() {
  const Worker* const self = this_worker();
  std::fprintf(stderr, "growstack_soak: seed %lu, in %s %u, thread %ld\n",
               static_cast<unsigned long>(world->settings.seed),
               self == nullptr ? "no worker" : "worker", self == nullptr ? 0 : self->index,
               syscall(SYS_gettid));
  for (const Worker& worker : world->workers) {
    worker.tell();
  }
  tell_threads();
  std::fprintf(stderr, "FAILED: %s\n", last_line(world->settings).c_str());
}

void wrong(const char* format, ...) {
  std::va_list values;
  va_start(values, format);
  std::array<char, 512> text{};
  std::vsnprintf(text.data(), text.size(), format, values);
  va_end(values);
  if (is_child) {
    std::fprintf(stderr, "growstack_soak: WRONG in a child: %s\n", text.data());
    _exit(99);
  }
  if (dying.exchange(true)) {
    pause();  // somebody else dies already
  }
  std::fprintf(stderr, "growstack_soak: WRONG: %s\n", text.data());
  tell_trace();
  tell_state_of_all();
  std::abort();
}

void install_last_words() {
  struct sigaction action {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) {
    sigaction(signal, &action, nullptr);
  }
}

bool last_words_are_in_force() {
  struct sigaction action {};
  sigaction(SIGSEGV, nullptr, &action);
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_crash;
}

void become_child() { is_child = true; }

}  // namespace growstack::soak
