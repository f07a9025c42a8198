#include "scale/suspended.hpp"

#include "subjects/pools.hpp"

namespace growstack::compare {
namespace {

namespace detail = boost::context::detail;

[[noreturn]] void wait_for_errands(detail::transfer_t caller) {
  use_a_little();
  for (;;) {
    caller = detail::jump_fcontext(caller.fctx, nullptr);
    (*static_cast<const std::function<void()>*>(caller.data))();
  }
}

}  // namespace

Suspended::Suspended(void* base, std::size_t bytes)
    : context_(detail::jump_fcontext(detail::make_fcontext(base, bytes, wait_for_errands), nullptr)
                   .fctx) {}

void Suspended::run(const std::function<void()>& errand) {
  context_ = detail::jump_fcontext(context_, const_cast<std::function<void()>*>(&errand)).fctx;
}

}  // namespace growstack::compare
