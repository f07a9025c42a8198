// A stack that does not belong to the fiber on it.
#pragma once

#include <boost/context/stack_context.hpp>

namespace growstack::compare {

/// The allocator of such a fiber, which gives its stack back to nobody.
struct BorrowedStack {
  void deallocate(boost::context::stack_context&) const noexcept {}
};

}  // namespace growstack::compare
