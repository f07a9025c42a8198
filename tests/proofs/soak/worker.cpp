#include "proofs/soak/worker.hpp"

#include <cstdio>

namespace growstack::soak {
namespace {

thread_local Worker* of_this_thread = nullptr;

}  // namespace

void Worker::tell() const {
  const std::size_t next = progress();
  char line[160];
  std::snprintf(line, sizeof line, "worker %u, after %zu deeds; the last ones:\n", index, next);
  std::fputs(line, stderr);
  const std::size_t first = next < deeds_.size() ? 0 : next - deeds_.size();
  for (std::size_t step = first; step < next; ++step) {
    const Deed& deed = deeds_[step % deeds_.size()];
    std::fprintf(stderr, "  %s %zu %zu\n", deed.what, deed.number, deed.other);
  }
}

// Not inline, because a fiber goes on in another thread, and the compiler keeps the address of a
// thread_local variable.
[[gnu::noinline]] Worker* this_worker() {
  asm volatile("" : : : "memory");
  return of_this_thread;
}

[[gnu::noinline]] void set_this_worker(Worker* worker) { of_this_thread = worker; }

}  // namespace growstack::soak
