// Threads that run on growable stacks.
#include <growstack/attach.hpp>

#include "errors.hpp"

#include <growstack/handler/handler.hpp>

namespace growstack {

void attach_thread() {
  if (const int error = handler::attach_thread(); error != 0) {
    fail_for_memory(error, "cannot set up an alternate signal stack",
                    handler::alternate_stack_size());
  }
}

}  // namespace growstack
