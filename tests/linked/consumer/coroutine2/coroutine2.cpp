// A generator of Boost.Coroutine2 that walks a list-shaped tree a million deep, by recursion.
#include <growstack/growstack.hpp>
#include <growstack/stack_allocator.hpp>

#include <boost/coroutine2/all.hpp>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <vector>

namespace {

using Coroutine = boost::coroutines2::coroutine<int>;

struct Node {
  int value = 0;
  const Node* next = nullptr;
};

void walk(const Node* node, Coroutine::push_type& yield) {
  if (node != nullptr) {
    walk(node->next, yield);
    yield(node->value);
  }
}

}  // namespace

int main() {
  constexpr std::size_t depth = 1'000'000;
  std::vector<Node> nodes(depth);
  for (std::size_t i = 0; i < depth; ++i) {
    nodes[i] = {.value = static_cast<int>(i), .next = i + 1 < depth ? &nodes[i + 1] : nullptr};
  }
  for (int round = 0; round < 2; ++round) {
    int expected = static_cast<int>(depth);
    for (const int value :
         Coroutine::pull_type(growstack::stack_allocator(std::size_t{1} << 30),
                              [&](Coroutine::push_type& yield) { walk(&nodes[0], yield); })) {
      if (value != --expected) {
        std::printf("%d is not %d\n", value, expected);
        return 1;
      }
    }
    if (expected != 0) {
      return 1;
    }
  }
  std::printf("%zu values from a recursion as deep\n", depth);
  return growstack::process_counters().stacks == 0 ? 0 : 1;
}
