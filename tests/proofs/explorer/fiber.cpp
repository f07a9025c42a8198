#include "fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace growstack::explorer {

namespace context = boost::context::detail;

std::byte* Fiber::map() {
  void* const memory = mmap(nullptr, 2 * alignment, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t aligned = (begin + alignment - 1) & ~(alignment - 1);
  if (aligned != begin) {
    munmap(memory, aligned - begin);
  }
  munmap(reinterpret_cast<void*>(aligned + stack_bytes),
         begin + alignment - aligned + alignment - stack_bytes);
  return reinterpret_cast<std::byte*>(aligned);
}

void Fiber::Unmap::operator()(std::byte* stack) const noexcept { munmap(stack, stack_bytes); }

void Fiber::restart(const std::function<void()>& body) {
  body_ = &body;
  here_ = context::make_fcontext(stack_.get() + stack_bytes, stack_bytes, run);
}

void Fiber::resume() { here_ = context::jump_fcontext(here_, this).fctx; }

void Fiber::leave() { back_ = context::jump_fcontext(back_, nullptr).fctx; }

void Fiber::run(context::transfer_t from) {
  Fiber& self = *static_cast<Fiber*>(from.data);
  self.back_ = from.fctx;
  (*self.body_)();
  self.leave();
  std::abort();  // nobody resumes a fiber that has ended
}

}  // namespace growstack::explorer
