#include "parts/instructions.hpp"

#include "parts/errors.hpp"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace growstack::bench {

InstructionCounter::InstructionCounter() {
  perf_event_attr wanted{};
  wanted.type = PERF_TYPE_HARDWARE;
  wanted.size = sizeof wanted;
  wanted.config = PERF_COUNT_HW_INSTRUCTIONS;
  wanted.exclude_kernel = 1;
  wanted.exclude_hv = 1;
  constexpr pid_t this_thread = 0;
  constexpr int any_processor = -1;
  constexpr int no_group = -1;
  descriptor_ = static_cast<int>(syscall(SYS_perf_event_open, &wanted, this_thread, any_processor,
                                         no_group, PERF_FLAG_FD_CLOEXEC));
  if (descriptor_ < 0) {
    error_ = std::strerror(errno);
  }
}

InstructionCounter::~InstructionCounter() {
  if (descriptor_ >= 0) {
    close(descriptor_);
  }
}

std::uint64_t InstructionCounter::count() const {
  std::uint64_t counted = 0;
  require(read(descriptor_, &counted, sizeof counted) == sizeof counted,
          "read of a performance counter");
  return counted;
}

}  // namespace growstack::bench
