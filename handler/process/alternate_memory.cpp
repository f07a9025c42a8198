// To map an alternate stack and to unmap it takes four system calls, two faults and the lock of the
// process's address space: a quarter of what a thread costs. So a few are kept.
//
// What is kept are single words, taken and put by compare-and-swap, because a lock could be one
// that a forked child inherits locked. A word says all that is to be known, so it does no harm if
// it goes and comes back between two looks at it.
#include "process/alternate_memory.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/idle.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/machine.hpp>
#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>

#include "anywhere/own_memory.hpp"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace growstack::handler {
namespace {

/// Bytes that our own handler may use below the kernel's frame. tests/fault/alternate_stack.cpp
/// measures what it does use.
constexpr std::size_t handler_bytes = std::size_t{16} * 1024;

/// Bytes that a growth uses below the kernel's frame.
constexpr std::size_t growth_bytes = std::size_t{4} * 1024;

std::atomic<std::size_t> wanted_size{std::size_t{64} * 1024};

/// Returns the bytes that the memory of a new alternate stack has, with its guard page.
std::size_t wanted_bytes() noexcept {
  return page_up(wanted_size.load(std::memory_order_relaxed)) + page_size();
}

void unmap(AlternateMemory memory) noexcept { unmap_own_memory(memory.begin, memory.size); }

// ---- what is kept -------------------------------------------------------------------------------

/// How many alternate stacks are kept at most: enough for threads that end and begin in turn.
constexpr std::size_t most_kept = 16;

/// Each is 0, or the address of kept memory, with its size in pages in the bits that are 0 in the
/// address of a page. Any thread takes a word out and puts one in.
constinit std::atomic<std::uintptr_t> kept[most_kept]{};

/// Returns 0 if the memory is too large for such a word.
std::uintptr_t word_of(AlternateMemory memory) noexcept {
  const std::size_t pages = memory.size / page_size();
  return pages < page_size() ? reinterpret_cast<std::uintptr_t>(memory.begin) | pages : 0;
}

AlternateMemory memory_of(std::uintptr_t word) noexcept {
  const std::uintptr_t begin = page_down(word);
  return {.begin = reinterpret_cast<std::byte*>(begin), .size = (word - begin) * page_size()};
}

/// Stands at the lower end of each alternate stack, and is another number for each: memory that the
/// program has mapped in its place since then does not have it.
std::uintptr_t mark_of(AlternateMemory memory) noexcept {
  constexpr std::uintptr_t some = 0x675f737461636b21;
  return reinterpret_cast<std::uintptr_t>(memory.begin) ^ some;
}

std::atomic_ref<std::uintptr_t> place_of_mark(AlternateMemory memory) noexcept {
  return std::atomic_ref(*reinterpret_cast<std::uintptr_t*>(memory.begin + page_size()));
}

/// Makes memory that a thread had as good as new, except that its upper end stays resident, as much
/// of it as a growth uses, and its mark. Returns whether that was possible. It is not if the
/// program has unmapped a part, or locked one between the two.
///
/// To ask what the program has done would cost more: mincore(2) alone as much as two of the calls.
bool renew(AlternateMemory memory) noexcept {
  std::byte* const usable = memory.begin + page_size();
  const std::size_t bytes = memory.size - page_size();
  const std::size_t warm = page_up(signal_frame_bytes() + growth_bytes);
  if (mprotect(memory.begin, page_size(), PROT_NONE) != 0 ||
      mprotect(usable, bytes, PROT_READ | PROT_WRITE) != 0 ||
      madvise(usable + page_size(), bytes - page_size() - warm, MADV_DONTNEED) != 0) {
    return false;
  }
  place_of_mark(memory).store(mark_of(memory), std::memory_order_relaxed);
  return true;
}

bool put_into(std::atomic<std::uintptr_t>& place, std::uintptr_t word) noexcept {
  std::uintptr_t none = 0;
  return place.load(std::memory_order_relaxed) == 0 &&
         place.compare_exchange_strong(none, word, std::memory_order_release,
                                       std::memory_order_relaxed);
}

bool take_kept(std::size_t bytes, AlternateMemory& memory) noexcept {
  for (std::atomic<std::uintptr_t>& place : kept) {
    std::uintptr_t word = place.load(std::memory_order_relaxed);
    if (word != 0 && memory_of(word).size == bytes &&
        place.compare_exchange_strong(word, 0, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
      memory = memory_of(word);
      return true;
    }
  }
  return false;
}

bool keep(AlternateMemory memory) noexcept {
  const std::uintptr_t word = word_of(memory);
  if (word == 0 || memory.size != wanted_bytes() || !renew(memory)) {
    return false;
  }
  for (std::atomic<std::uintptr_t>& place : kept) {
    if (put_into(place, word)) {
      return true;
    }
  }
  return false;
}

}  // namespace

void give_alternate_stacks_back() noexcept {
  for (std::atomic<std::uintptr_t>& place : kept) {
    if (const std::uintptr_t word = place.exchange(0, std::memory_order_acquire); word != 0) {
      unmap(memory_of(word));
    }
  }
}

void leave_alternate_memory(AlternateMemory memory) noexcept {
  if (is_readable(reinterpret_cast<std::uintptr_t>(memory.begin) + page_size()) &&
      place_of_mark(memory).load(std::memory_order_relaxed) == mark_of(memory)) {
    unmap(memory);
  }
}

// ---- for a thread -------------------------------------------------------------------------------

int take_alternate_memory(AlternateMemory& memory) noexcept {
  const std::size_t bytes = wanted_bytes();
  if (take_kept(bytes, memory)) {
    return 0;
  }
  void* const mapped =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (mapped == MAP_FAILED) {
    return failed(SystemCall::mmap);
  }
  const AlternateMemory made{.begin = static_cast<std::byte*>(mapped), .size = bytes};
  if (mprotect(made.begin + page_size(), bytes - page_size(), PROT_READ | PROT_WRITE) != 0) {
    const int error = failed(SystemCall::mprotect);
    unmap(made);
    return error;
  }
  name_memory(reinterpret_cast<std::uintptr_t>(mapped), bytes, signal_stack_name);
  place_of_mark(made).store(mark_of(made), std::memory_order_relaxed);
  memory = made;
  return 0;
}

void put_alternate_memory(AlternateMemory memory) noexcept {
  if (!keep(memory)) {
    unmap(memory);
  }
}

AlternateStackMemory::~AlternateStackMemory() {
  if (begin_ != nullptr) {
    put_alternate_memory({.begin = begin_, .size = size_});
  }
}

int AlternateStackMemory::reserve() noexcept {
  if (begin_ != nullptr) {
    return 0;
  }
  AlternateMemory memory;
  const int error = take_alternate_memory(memory);
  begin_ = memory.begin;
  size_ = memory.size;
  return error;
}

// ---- their size ---------------------------------------------------------------------------------

std::size_t least_alternate_stack_size() noexcept {
  return page_up(signal_frame_bytes() + handler_bytes);
}

int set_alternate_stack_size(std::size_t bytes) noexcept {
  if (bytes < least_alternate_stack_size() || bytes > SIZE_MAX / 2) {
    return EINVAL;
  }
  wanted_size.store(bytes, std::memory_order_relaxed);
  give_alternate_stacks_back();
  return 0;
}

std::size_t alternate_stack_size() noexcept { return wanted_size.load(std::memory_order_relaxed); }

}  // namespace growstack::handler
