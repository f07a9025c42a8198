// What threads remember of the stack they run on (memory/last_stacks.cpp), while another thread
// tells a stack or takes one back, in every interleaving.
//
// What holds in every execution: once a stack has been told, no thread remembers a larger one
// around it. Either who tells it sees what the thread remembers and makes it forget, or the thread
// sees that a stack was told and looks it up again.
#include "explorer/modelled.hpp"
#include "models/say.hpp"

#include <doctest/doctest.h>

#include <pthread.h>

#include <map>
#include <optional>

namespace modelled {

inline int pthread_atfork(void (*)(), void (*)(), void (*)()) noexcept { return 0; }
inline int pthread_key_create(pthread_key_t*, void (*)(void*)) noexcept { return 0; }
inline int pthread_setspecific(pthread_key_t, const void*) noexcept { return 0; }

}  // namespace modelled

// Only one thread of these models remembers anything. Another one writes to what that remembers,
// so it must be one object for both.
#pragma GCC diagnostic ignored "-Wattributes"
#define thread_local
#include "memory/last_stacks.cpp"
#undef thread_local

namespace modelled {

void fail(int /*error*/, const ::std::string& what) { throw ::std::runtime_error(what); }

namespace {

constexpr StackExtent outer{.low = 100, .high = 200};
constexpr StackExtent inner{.low = 120, .high = 140};
constexpr std::uintptr_t above_inner = 150;

/// As look_up() in stacks/current_stack.cpp: the thread runs above what another one tells.
void look_up() {
  for (std::uint64_t now = tellings();; now = tellings()) {
    if (remember_stack(without_told_stacks(outer, above_inner), now)) {
      break;
    }
  }
}

/// What the thread ran on before.
constexpr StackExtent earlier{.low = 1000, .high = 1010};

void look_up_twice() {
  static_cast<void>(remember_stack(earlier, tellings()));
  look_up();
}

void tell() { detail::tell_stack(inner.low, inner.high - inner.low); }

void begin() {
  LastStacks& all = *the_last_stacks;
  all.first = nullptr;
  new (&all.told) decltype(all.told);
  new (&all.lock) explorer::Mutex;
  told_count.store(0);
  all_tellings.store(0);
  this_thread = {};
  detail::last_stack.size.store(0);
  detail::last_stack.low.store(0);
}

void require_nothing_inside() {
  explorer::require(
      detail::last_stack.size.load() == 0 || detail::last_stack.low.load() >= inner.high,
      "a thread counts on addresses of a stack that was told");
}

void explore(::std::vector<::std::function<void()>> threads, ::std::function<void()> check) {
  const explorer::Explored explored =
      explorer::explore({begin, ::std::move(threads), ::std::move(check), {}});
  modelled::say_and_check(explored);
}

}  // namespace

TEST_CASE("no thread remembers more than lies above a stack that was told") {
  explore({look_up, tell}, require_nothing_inside);
}

TEST_CASE("the same, if it remembered another stack before") {
  explore({look_up_twice, tell}, require_nothing_inside);
}

TEST_CASE("a stack that is taken back is forgotten, and another one can be told there") {
  explore({look_up,
           [] {
             tell();
             detail::take_stack_back(inner.low);
             tell();
           }},
          require_nothing_inside);
}

}  // namespace modelled
