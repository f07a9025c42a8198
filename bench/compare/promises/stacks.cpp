#include "stacks.hpp"

#include "parts/descent.hpp"
#include "parts/memory.hpp"

#include <system_error>

namespace growstack::compare::promises {

std::unique_ptr<AnyStack> make(const std::string& subject, std::size_t bytes) {
  constexpr std::size_t kernel_gap = 2 * mib;  // MAP_GROWSDOWN keeps away from what lies below
  bench::raise_lock_limit();
  bench::raise_stack_limit(bytes + guard_bytes + kernel_gap);
  return make_stack(subject, {.reserve = bytes, .guard = guard_bytes, .initial_commit = {}});
}

Fate on_stack(const Question& question, const std::function<nlohmann::json(AnyStack& stack)>& body,
              void (*before)()) {
  return in_worker([&] {
    if (before != nullptr) {
      before();
    }
    const auto stack = make(question.subject);
    nlohmann::json said;
    stack->run([&] { said = body(*stack); });
    return said;
  });
}

void go_down(const AnyStack& stack, std::size_t bytes) { bench::descend(stack.base() - bytes); }

bool trim(AnyStack& stack) {
  const std::error_code error = stack.trim();
  if (error && error != std::errc::not_supported) {
    throw std::system_error(error, "trim");
  }
  return !error;
}

}  // namespace growstack::compare::promises
