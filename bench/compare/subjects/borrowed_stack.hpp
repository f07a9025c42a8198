// A stack that belongs to somebody other than the fiber on it.
#pragma once

#include <boost/context/stack_context.hpp>

namespace growstack::compare {

/// A fiber wants somebody to give its stack back to.
struct BorrowedStack {
  void deallocate(boost::context::stack_context&) const noexcept {}
};

}  // namespace growstack::compare
