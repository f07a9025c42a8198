// What the program forbids at the low end of a thread's stack belongs to the program. Runtimes have
// zones there that nobody may touch, and turn a touch into an exception of their own.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/stack_pool.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

constexpr std::size_t zone_size = 64 * KiB;

/// Returns the lowest address of the calling thread's stack, as a runtime asks for it.
std::uintptr_t low_end_of_thread() {
  pthread_attr_t attributes;
  void* low = nullptr;
  std::size_t size = 0;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &low, &size);
  pthread_attr_destroy(&attributes);
  return address_of(low);
}

void* at(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

/// How a runtime makes its zone.
enum class Means : std::uint8_t { mprotect, mmap };

/// The zone of a runtime, at the low end of its thread's stack.
class Zone {
 public:
  explicit Zone(Means means) : begin_(low_end_of_thread()) {
    if (means == Means::mprotect) {
      mprotect(at(begin_), zone_size, PROT_NONE);
    } else {
      mmap(at(begin_), zone_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
  }
  [[nodiscard]] std::uintptr_t begin() const { return begin_; }
  [[nodiscard]] std::uintptr_t end() const { return begin_ + zone_size; }
  void allow() const { mprotect(at(begin_), zone_size, PROT_READ | PROT_WRITE); }
  void forbid() const { mprotect(at(begin_), zone_size, PROT_NONE); }

 private:
  std::uintptr_t begin_;
};

sigjmp_buf way_out;
std::uintptr_t touched = 0;

/// The runtime's handler, which was there before ours.
void install_handler_of_runtime() {
  struct sigaction theirs {};
  theirs.sa_sigaction = [](int, siginfo_t* info, void*) {
    touched = address_of(info->si_addr);
    siglongjmp(way_out, 1);
  };
  theirs.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &theirs, nullptr);
}

volatile int endless = 1;
[[gnu::noinline]] int run_away(int depth) {
  volatile char room[400];
  keep(room);
  room[0] = static_cast<char>(depth);
  return endless == 0 ? depth : run_away(depth + 1) + room[0];
}

/// Recurses until the runtime's handler is asked. Returns the address that was touched.
std::uintptr_t touched_by_runaway() {
  if (sigsetjmp(way_out, 1) == 0) {
    run_away(0);
  }
  return touched;
}

/// Returns 7 if the zone is hit twice, the runtime may lift it, and then all of the stack is there.
int use_zone(Means means) {
  const Zone zone(means);
  for (int round = 0; round < 2; ++round) {
    const std::uintptr_t hit = touched_by_runaway();
    if (hit < zone.begin() || hit >= zone.end()) {
      std::fprintf(stderr, "touched %zd bytes above the zone\n",
                   static_cast<std::ptrdiff_t>(hit - zone.end()));
      return 1;
    }
    static_cast<void>(Stack::trim_current());  // and it grows again
  }
  zone.allow();
  touch_in_one_jump(zone.end());
  touch_in_one_jump(zone.begin() + page_size());
  zone.forbid();
  const std::uintptr_t hit = touched_by_runaway();
  zone.allow();  // before the thread ends, as a runtime does
  return zone.begin() <= hit && hit < zone.end() ? 7 : 2;
}

Means means_of_test() {
  return std::string(std::getenv("GROWSTACK_TEST_MEANS")) == "mmap" ? Means::mmap : Means::mprotect;
}

int zone_of_a_thread(const Traits& of) {
  install_handler_of_runtime();
  int end = 0;
  for (const std::size_t reserve : {4 * MiB, 32 * MiB}) {
    Thread({.reserve = reserve, .strategy = of.strategy, .name = "runtime"}, [&] {
      end = use_zone(means_of_test());
    }).join();
    if (end != 7) {
      return end;
    }
  }
  return 7;
}
const ScenarioOfEach<zone_of_a_thread> zones_of_a_thread("zone of a thread");

int zone_on_a_pooled_stack(const Traits& of) {
  install_handler_of_runtime();
  StackPool pool({.reserve = 4 * MiB, .strategy = of.strategy});
  for (int round = 0; round < 3; ++round) {
    int end = 0;
    Thread(pool.acquire(), [&] { end = use_zone(means_of_test()); }).join();
    if (end != 7) {
      return 10 + end;
    }
    // The same slot, but no thread: all of it can be used.
    Stack stack = pool.acquire();
    if (means_of_test() == Means::mprotect &&
        call(stack, [&] { return descend_to(address_of(stack.floor()), 16 * KiB); }) != 0) {
      return 20;
    }
  }
  return 7;
}
const ScenarioOfEach<zone_on_a_pooled_stack> zones_on_a_pooled_stack("zone on a pooled stack");

/// The zone is in force in a forked child as well.
int zone_in_a_forked_child(const Traits& of) {
  install_handler_of_runtime();
  int end = 0;
  Thread({.reserve = 4 * MiB, .strategy = of.strategy}, [&] {
    end = end_of_child([] { return use_zone(means_of_test()); });
  }).join();
  return end;
}
const ScenarioOfEach<zone_in_a_forked_child> zones_in_a_forked_child("zone in a forked child");

void check_zones(const std::string& what, const Traits& of) {
  for (const char* const means : {"mprotect", "mmap"}) {
    CAPTURE(std::string(means));
    setenv("GROWSTACK_TEST_MEANS", means, 1);
    const Ended ended = run_scenario_of(what, of);
    CAPTURE(ended.err);
    CAPTURE(ended.signal);
    CHECK(ended.exit_code == 7);
    CHECK(ended.err == "");
  }
}

}  // namespace

#define WITH_ZONES(promise) \
  STRATEGIES_WHERE(traits.guarded&& traits.own_address_space&& traits.pools, promise)

WITH_ZONES(
    "what a runtime forbids at the low end of its thread's stack stays forbidden, and its handler "
    "is asked") {
  check_zones("zone of a thread", Of::traits);
}

WITH_ZONES("the same is true of a thread on a pooled stack, as often as that is used again") {
  check_zones("zone on a pooled stack", Of::traits);
}

WITH_ZONES("and in a forked child") { check_zones("zone in a forked child", Of::traits); }

STRATEGIES_WHERE(traits.grows_by_protection,
                 "the low end of a thread's stack costs neither memory nor charge") {
  Thread({.reserve = 64 * MiB, .strategy = Of::strategy}, [] {}).join();  // the first one
  const std::size_t before = status_bytes("VmData");
  std::size_t charged = 0;
  Thread({.reserve = 64 * MiB, .strategy = Of::strategy}, [&] {
    charged = status_bytes("VmData") - before;
  }).join();
  CHECK((sanitized || charged < 900 * KiB));
}

STRATEGIES_WHERE(
    traits.growth_events,
    "a thread can use its stack to the last byte above the floor, and a touch below is "
    "overflow") {
  CHECK(end_of_child([] {
          std::size_t wrong = 1;
          Thread({.reserve = 4 * MiB, .strategy = Of::strategy}, [&] {
            wrong = descend_to(low_end_of_thread());
          }).join();
          return wrong == 0 ? 7 : 1;
        }) == 7);
}

GROWSTACK_SCENARIO("a zone that cannot be permitted, and no pool any more") {
  auto pool = std::make_unique<StackPool>(
      PoolOptions{.reserve = 4 * MiB, .strategy = Strategy::in_handler});
  Thread thread(pool->acquire(), [] {});
  pool.reset();
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse(SYS_mprotect, ENOMEM);
    thread.join();
  });
  trim();
  return handler::range_count() == 0 ? 7 : 1;
}

TEST_CASE(
    "a pool that has ended goes also if its last stack cannot be used any more, because what the "
    "program forbade there cannot be permitted") {
  const Ended ended = run_scenario("a zone that cannot be permitted, and no pool any more");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

// ---- elsewhere ----------------------------------------------------------------------------------

STRATEGIES_WHERE(traits.grows_by_protection,
                 "elsewhere than at the low end of a thread's stack, growth does not see what the "
                 "program forbade: it makes that writable again") {
  Stack stack({.reserve = 4 * MiB, .strategy = Of::strategy});
  const std::uintptr_t zone = address_of(stack.base()) - MiB;
  mprotect(at(zone), page_size(), PROT_NONE);
  call(stack, [zone] { touch_in_one_jump(zone - 64 * KiB); });
  CHECK(handler::is_readable(zone));
}

STRATEGIES_WHERE(traits.by_userfaultfd,
                 "memory that the program mapped into the reserve does not stop the growth above "
                 "it") {
  Stack stack({.reserve = 4 * MiB, .strategy = Of::strategy});
  const std::uintptr_t stranger = address_of(stack.base()) - MiB;
  mmap(at(stranger), page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(call(stack, [stranger] { return descend_to(stranger + page_size()); }) == 0);
  CHECK_FALSE(handler::is_readable(stranger));
}
