#include "fiber.hpp"

#include <cstdlib>

namespace growstack::explorer {

namespace context = boost::context::detail;

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
