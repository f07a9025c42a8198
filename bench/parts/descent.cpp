#include "parts/descent.hpp"

#include <growstack/handler/pages.hpp>

#include <thread>

namespace growstack::bench {
namespace {

using handler::page_down;
using handler::page_size;

/// What alloca(3) may add to align a block. A step of a page minus this is at most a page, so that
/// no page is left out.
constexpr std::size_t alignment = 16;

volatile char* pointer(std::uintptr_t address) { return reinterpret_cast<volatile char*>(address); }

}  // namespace

// These are not inlined, because the stack pointer must come back when they return.

[[gnu::noinline]] void descend(std::uintptr_t lowest, const std::function<void()>& at_depth) {
  const std::size_t page = page_size();
  volatile char* lowest_touched = nullptr;
  do {
    lowest_touched = static_cast<volatile char*>(__builtin_alloca(page - alignment));
    *lowest_touched = 1;
  } while (address_of(lowest_touched) >= lowest + page);
  if (at_depth) {
    at_depth();
  }
}

[[gnu::noinline]] void descend_writing(std::uintptr_t lowest) {
  constexpr std::size_t cache_line = 64;
  const std::size_t block = page_size() - alignment;
  volatile char* begin = nullptr;
  do {
    begin = static_cast<volatile char*>(__builtin_alloca(block));
    // Downwards, and the lowest byte of the block, too: no cache line lies between two writes.
    for (std::size_t left = (block - 1) / cache_line + 1; left-- > 0;) {
      begin[left * cache_line] = 1;
    }
  } while (address_of(begin) >= lowest + page_size());
}

double time_touch(volatile char* page) {
  const auto before = std::chrono::steady_clock::now();
  *page = 1;
  const auto after = std::chrono::steady_clock::now();
  return std::chrono::duration<double, std::nano>(after - before).count();
}

[[gnu::noinline]] void time_each_page(std::span<double> nanoseconds,
                                      std::chrono::nanoseconds idle) {
  const std::size_t page = page_size();
  auto* here = static_cast<volatile char*>(__builtin_alloca(alignment));
  for (double& each : nanoseconds) {
    // The functions called below need stack, too. It must exist already, or their calls would grow
    // the stack before the clock runs. So the stack pointer goes to the upper quarter of the page
    // that was touched last, and the touch goes to the page below.
    const std::uintptr_t upper_quarter = page_down(address_of(here)) - page / 4;
    here =
        static_cast<volatile char*>(__builtin_alloca(address_of(here) - upper_quarter - alignment));
    *here = 1;  // new only in the first round, and not timed
    if (idle.count() > 0) {
      std::this_thread::sleep_for(idle);
    }
    each = time_touch(pointer(page_down(address_of(here)) - page / 2));
  }
}

}  // namespace growstack::bench
