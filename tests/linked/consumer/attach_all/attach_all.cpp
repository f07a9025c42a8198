// A thread that the C++ library starts has an alternate signal stack. The main thread, which nobody
// starts, has none.
#include <csignal>
#include <cstdio>
#include <thread>

namespace {

bool has_alternate_stack() {
  stack_t stack{};
  return sigaltstack(nullptr, &stack) == 0 && (stack.ss_flags & SS_DISABLE) == 0;
}

}  // namespace

int main() {
  bool is_attached = false;
  std::thread([&] { is_attached = has_alternate_stack(); }).join();
  std::printf("main thread %d, another %d\n", has_alternate_stack(), is_attached);
  return is_attached && !has_alternate_stack() ? 0 : 1;
}
