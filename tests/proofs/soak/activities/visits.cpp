// Touches of a stack by threads that run elsewhere, while its owner grows and trims it; and memory
// of the program's own, which lies where stacks were before and must stay as it is.
#include <growstack/growstack.hpp>
#include <growstack/handler/classify.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/tenant.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <shared_mutex>
#include <string>

namespace growstack::soak {

using testing::MiB;

namespace {

[[gnu::noinline]] GROWSTACK_RAW_STACK void touch(std::uintptr_t address) {
  static_cast<void>(*reinterpret_cast<const volatile char*>(address));
}

}  // namespace

void touch_a_stack(Worker& worker) {
  const std::shared_lock lock(world->visits.mutex);
  if (world->visits.stacks.empty()) {
    return;
  }
  const Stack& stack = worker.random.one_of(world->visits.stacks)->stack();
  const std::uintptr_t floor = testing::address_of(stack.floor());
  const std::uintptr_t limit = testing::address_of(stack.limit());
  worker.note("visits a stack of strategy", static_cast<std::size_t>(stack.strategy()));
  // On the running stack, only a touch of own frames is growth.
  const std::uintptr_t here = GROWSTACK_HERE;
  const bool runs_here = floor <= here && here < testing::address_of(stack.base());
  if (limit > floor && !runs_here) {
    const std::uintptr_t address = limit - worker.random.log_uniform(1, limit - floor);
    // A touch so close below the stack pointer of a stack that is used up counts as its overflow.
    constexpr std::size_t too_close = handler::reach_below_stack_pointer + 64 * testing::KiB;
    if (address < here && here - address <= too_close) {
      return;
    }
    touch(address);
    counts.touches.fetch_add(1, std::memory_order_relaxed);
  }
}

namespace {

/// Says so if a part of the mapping is not forbidden any more.
void expect_forbidden(std::uintptr_t begin, std::uintptr_t end) {
  std::ifstream maps("/proc/self/maps");
  std::size_t seen = 0;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    char protection[5] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, protection) != 3 || to <= begin ||
        from >= end) {
      continue;
    }
    if (std::string(protection) != "---p") {
      wrong("somebody changed memory of the program's: %s", line.c_str());
    }
    seen += std::min(to, end) - std::max(from, begin);
  }
  if (seen != end - begin) {
    wrong("somebody unmapped memory of the program's at %#lx", begin);
  }
}

}  // namespace

ForbiddenMemory::ForbiddenMemory(std::size_t bytes) : bytes_(bytes) {
  void* const memory =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    wrong("mmap");
  }
  begin_ = testing::address_of(memory);
}

ForbiddenMemory::~ForbiddenMemory() {
  if (begin_ != 0) {
    expect_forbidden(begin_, begin_ + bytes_);
    munmap(reinterpret_cast<void*>(begin_), bytes_);
  }
}

void map_something(Worker& worker) {
  // Stacks come and go in such pieces, and the kernel gives the same addresses again.
  constexpr std::size_t most = 12;
  if (world->mappings.size() >= most) {
    static_cast<void>(world->mappings.take(worker.random));
  }
  world->mappings.put(ForbiddenMemory(worker.random.between(1, 4) * 32 * MiB));
  counts.mappings.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
