#include "proofs/running_out/ways.hpp"

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"

#include <array>

namespace growstack::testing {
namespace {

using AtTheTop = std::function<void()>;

constexpr std::size_t reserve = 4 * MiB;

StackOptions options_of(const Traits& of) {
  return {.reserve = reserve, .strategy = of.strategy, .name = "running out"};
}

std::size_t go_deep(const AtTheTop& at_the_top, std::size_t depth) {
  at_the_top();
  return descend(depth);
}

std::size_t by_stack(const Traits& of, const AtTheTop& at_the_top, std::size_t depth) {
  Stack stack(options_of(of));
  return call(stack, go_deep, at_the_top, depth);
}

std::size_t by_options(const Traits& of, const AtTheTop& at_the_top, std::size_t depth) {
  return call(options_of(of), go_deep, at_the_top, depth);
}

std::size_t by_thread(const Traits& of, const AtTheTop& at_the_top, std::size_t depth) {
  std::size_t wrong = 0;
  Thread thread(options_of(of), [&] { wrong = go_deep(at_the_top, depth); });
  thread.join();
  return wrong;
}

std::size_t by_pool(const Traits& of, const AtTheTop& at_the_top, std::size_t depth) {
  StackPool pool({.reserve = reserve, .strategy = of.strategy});
  Stack stack = pool.acquire("running out");
  return call(stack, go_deep, at_the_top, depth);
}

constexpr std::array all{
    Way{.name = "Stack and call", .use = by_stack},
    Way{.name = "call(options)", .use = by_options},
    Way{.name = "Thread", .use = by_thread, .thread = true},
    Way{.name = "pooled stack", .use = by_pool, .pools = true},
    Way{.name = "forked child", .use = by_stack, .forked = true},
};

}  // namespace

std::span<const Way> ways() { return all; }

}  // namespace growstack::testing
