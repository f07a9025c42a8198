// What host and plugin each do with their own growstack. Each function here is local to its file,
// because otherwise the plugin would call the host's.
#pragma once

#include <growstack/growstack.hpp>

#include <cstdint>

/// Functions that use one copy of growstack. The plugin gives its functions to the host.
struct Copy {
  int (*deep)(int depth);
  int (*pooled)(int depth);   ///< on stacks of a pool that was moved
  int (*ensured)(int depth);  ///< by ensure_stack(), to which the other copy's stacks are unknown
  int (*inside)(int depth, int (*then)(int));
  void (*overflow)();
  int (*attach)();
  int (*uninstall)();
  bool (*installed)();
  std::uint64_t (*growths)();
};

namespace {

int descend(int n) {
  volatile int here = n;
  return n == 0 ? 0 : descend(n - 1) + (here == n);
}

int descend_safely(int n) {
  volatile int here = n;
  return n == 0 ? 0 : growstack::ensure_stack(32 << 10, descend_safely, n - 1) + (here == n);
}

int runaway(int n) {
  volatile int here = n;
  return runaway(n + 1) + here;
}

template <const char* name>
constexpr Copy copy{
    .deep = [](int depth) { return growstack::call({.name = name}, descend, depth); },
    .pooled =
        [](int depth) {
          growstack::StackPool pool({.name = name});
          growstack::StackPool other({.name = name});
          growstack::Stack stack = pool.acquire();
          other = std::move(pool);
          return growstack::call(stack, descend, depth);
        },
    .ensured = descend_safely,
    .inside =
        [](int depth, int (*then)(int)) {
          return growstack::call({.name = name},
                                 [&] { return then(depth) + descend(depth) - depth; });
        },
    .overflow = [] { growstack::call({.reserve = 1 << 20, .name = name}, runaway, 0); },
    .attach = [] { return growstack::handler::attach_thread(); },
    .uninstall = [] { return growstack::handler::uninstall(); },
    .installed = [] { return growstack::handler::installed(); },
    .growths = [] { return growstack::handler::counters().growth; }};

}  // namespace
