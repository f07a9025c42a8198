// A range of one slot, with operations of the test's own, and code that runs on it.
#pragma once

#include <growstack/handler/handler.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "support/address_of.hpp"
#include "support/scenario.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <cerrno>
#include <cstdint>
#include <functional>

namespace growstack::testing {

inline int make_writable(handler::Step step) noexcept {
  void* const begin = reinterpret_cast<void*>(step.begin);
  return mprotect(begin, step.end - step.begin, PROT_READ | PROT_WRITE) == 0 ? 0 : errno;
}

/// The plan that grows no further than the touched page.
inline handler::Step to_the_limit(const handler::Range&, const handler::SlotRecord& slot,
                                  std::uintptr_t address) noexcept {
  return {handler::page_down(address), slot.limit};
}

/// Registers a range of one slot, the upper `committed_pages` of which are committed.
class OneSlot {
 public:
  OneSlot(const handler::Operations& operations, handler::Committer committer,
          std::size_t committed_pages = 1) {
    constexpr std::size_t size = handler::range_alignment;
    void* const memory = mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "mmap");
    require(handler::install() == 0 && handler::attach_thread() == 0, "install");
    require(committer == handler::Committer::handler || handler::start_helper() == 0,
            "start_helper");
    begin_ = (address_of(memory) + size - 1) / size * size;
    const std::uintptr_t base = begin_ + size;
    const std::uintptr_t limit = base - committed_pages * handler::page_size();
    require(handler::add_range({.begin = begin_,
                                .size = size,
                                .slot_size = size,
                                .operations = &operations,
                                .committer = committer},
                               range_) == 0,
            "add_range");
    require(make_writable({limit, base}) == 0, "mprotect");
    publish(*range_, 0,
            {.base = base,
             .floor = begin_ + handler::page_size(),
             .guard = begin_,
             .limit = limit,
             .largest_step = size,
             .name = "own"});
  }
  ~OneSlot() {
    retire();
    handler::remove_range(*range_);
  }
  OneSlot(const OneSlot&) = delete;
  OneSlot& operator=(const OneSlot&) = delete;

  [[nodiscard]] handler::Range& range() const { return *range_; }
  [[nodiscard]] handler::SlotRecord& slot() const { return range_->slots[0]; }
  [[nodiscard]] std::uint32_t pins() const { return range_->pins[0]; }
  [[nodiscard]] std::uintptr_t limit() const { return slot().limit; }

  /// Touches the stack some pages below the limit, from outside.
  void touch(std::size_t pages) const {
    *reinterpret_cast<volatile char*>(limit() - pages * handler::page_size()) = 1;
  }

  /// Runs body() on the slot.
  void run(const std::function<void()>& body) const {
    static const std::function<void()>* what;
    what = &body;
    ucontext_t here;
    ucontext_t there;
    getcontext(&there);
    there.uc_stack = {reinterpret_cast<void*>(slot().floor.load()), 0, slot().base - slot().floor};
    there.uc_link = &here;
    makecontext(
        &there, [] { (*what)(); }, 0);
    swapcontext(&here, &there);
  }

  void retire() const {
    if (slot().generation % 2 == 1) {
      handler::retire(*range_, 0);
    }
  }

 private:
  std::uintptr_t begin_ = 0;
  handler::Range* range_ = nullptr;
};

}  // namespace growstack::testing
