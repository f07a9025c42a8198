// Whether memory can be read, without touching it.
#pragma once

#include <growstack/handler/pages.hpp>
#include <growstack/options.hpp>
#include <growstack/stack.hpp>

#include "support/address_of.hpp"
#include "support/bare_system_call.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace growstack::testing {

/// Asks the kernel whether it can read memory of this process: the kernel writes a byte into a
/// pipe.
class Probe {
 public:
  Probe() {
    if (pipe2(ends_.data(), O_NONBLOCK | O_CLOEXEC) != 0) {
      std::perror("pipe2");
      std::exit(100);
    }
  }
  ~Probe() {
    close(ends_[0]);
    close(ends_[1]);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  [[nodiscard]] bool readable(std::uintptr_t address) {
    const bool is_readable = bare_write(ends_[1], address, 1) == 1;
    if (is_readable) {
      char taken = 0;
      static_cast<void>(read(ends_[0], &taken, 1));
    }
    return is_readable;
  }

  /// Returns whether neither the uppermost nor the lowest byte of the guard can be read.
  [[nodiscard]] bool guarded(const Stack& stack, std::size_t guard = StackOptions{}.guard) {
    const std::uintptr_t floor = address_of(stack.floor());
    return !readable(floor - 1) && !readable(floor - guard);
  }

 private:
  std::array<int, 2> ends_{};
};

/// Returns how many pages of [begin, end) can be read.
[[nodiscard]] inline std::size_t readable_pages(std::uintptr_t begin, std::uintptr_t end) {
  Probe probe;
  std::size_t pages = 0;
  for (std::uintptr_t at = begin; at < end; at += handler::page_size()) {
    pages += probe.readable(at) ? 1 : 0;
  }
  return pages;
}

}  // namespace growstack::testing
