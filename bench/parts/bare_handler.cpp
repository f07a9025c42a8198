#include "parts/bare_handler.hpp"

#include "parts/descent.hpp"
#include "parts/errors.hpp"

#include <growstack/handler/pages.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

namespace growstack::bench {
namespace {

using handler::page_down;
using handler::page_size;

constexpr std::size_t alternate_stack_bytes = std::size_t{64} * 1024;

void open_page(int, siginfo_t* info, void*) {
  const std::uintptr_t page = page_down(address_of(info->si_addr));
  if (mprotect(reinterpret_cast<void*>(page), page_size(), PROT_READ | PROT_WRITE) != 0) {
    _exit(EXIT_FAILURE);  // otherwise the instruction would fault for ever
  }
}

}  // namespace

ReservedPages::ReservedPages(std::size_t bytes) : bytes_(bytes) {
  void* const mapped = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(mapped != MAP_FAILED, "mmap");
  begin_ = static_cast<char*>(mapped);
  // The stacks do the same. A kernel without huge pages returns EINVAL.
  if (madvise(mapped, bytes, MADV_NOHUGEPAGE) != 0 && errno != EINVAL) {
    const int error = errno;
    munmap(mapped, bytes);
    throw_error("madvise", error);
  }
}

ReservedPages::~ReservedPages() { munmap(begin_, bytes_); }

BareHandler::BareHandler() : alternate_stack_(alternate_stack_bytes) {
  static_cast<void>(page_size());  // asked for here, remembered for the handler
  const stack_t ours{
      .ss_sp = alternate_stack_.data(), .ss_flags = 0, .ss_size = alternate_stack_.size()};
  require(sigaltstack(&ours, &previous_stack_) == 0, "sigaltstack");
  struct sigaction action {};
  action.sa_sigaction = open_page;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  if (sigaction(SIGSEGV, &action, &previous_action_) != 0) {
    const int error = errno;
    sigaltstack(&previous_stack_, nullptr);
    throw_error("sigaction", error);
  }
}

BareHandler::~BareHandler() {
  sigaction(SIGSEGV, &previous_action_, nullptr);
  sigaltstack(&previous_stack_, nullptr);
}

void time_each_fault(const ReservedPages& pages, std::span<double> nanoseconds,
                     std::chrono::nanoseconds idle) {
  volatile char* page = pages.end();
  for (double& each : nanoseconds) {
    page -= page_size();
    if (idle.count() > 0) {
      std::this_thread::sleep_for(idle);
    }
    each = time_touch(page);
  }
}

void time_each_bare_fault(std::span<double> nanoseconds, std::chrono::nanoseconds idle) {
  time_each_fault(ReservedPages(nanoseconds.size() * page_size()), nanoseconds, idle);
}

}  // namespace growstack::bench
