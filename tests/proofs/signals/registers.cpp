// Every register survives a growth in the middle of a function, by each kind of instruction that
// touches memory. Each touch is made twice with the same registers: where nothing is committed, and
// again where everything is. Both must leave the same registers and the same memory.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "places.hpp"
#include "storm.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/scenario.hpp"

#if defined(__x86_64__)
#include "registers_x86_64.hpp"
#else
#error "there is no file for this processor yet"
#endif

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
using namespace growstack::testing::registers;

namespace {

constexpr std::size_t page = 4 * KiB;
/// What is compared: so far below the border, and so far above it. The lowest touch of all lies
/// deeper, and only what it leaves in the registers is compared.
constexpr std::size_t compared_below = 5 * page;
constexpr std::size_t compared_above = page;
constexpr std::size_t lowest_touch = 64 * KiB + page;
constexpr int growths_of_a_stack = 3;
constexpr long longest_delay = 12'000;  // ns: about as long as a touch takes

using Bytes = std::vector<unsigned char>;

alignas(64) std::array<unsigned char, 8 * page> buffer;

struct Asked {
  Place place{};
  const Traits* traits = nullptr;
  Storm* storm = nullptr;  ///< signals come meanwhile
  /// Their handlers run on the stack. So what lies below the stack pointer may change.
  bool below_may_change = false;
};

/// What all touches of a scenario have in common.
class Proof {
 public:
  explicit Proof(const Asked& asked) : asked_(asked) {}

  /// Makes a touch as the first growth of a stack and as two later ones. Returns 0 if all went
  /// well, and otherwise says what did not. Runs on the stack.
  int try_on(Stack& stack, const Touch& touch) {
    std::uintptr_t border = address_of(stack.base()) - 64 * KiB;
    for (int growth = 0; growth < growths_of_a_stack; ++growth) {
      border = next_border(stack, border);
      if (const std::string wrong = try_at(stack, touch, border); !wrong.empty()) {
        std::printf("%s, %s, growth %d by %s:%s\n", asked_.traits->name.data(),
                    name_of(asked_.place).data(), growth, touch.what, wrong.c_str());
        return 1;
      }
      ++growths;
    }
    return 0;
  }

  unsigned growths = 0;

 private:
  /// Returns an address below which nothing is committed, or, where the kernel fills what is
  /// touched, nothing was touched.
  std::uintptr_t next_border(const Stack& stack, std::uintptr_t last) const {
    const bool limit_tells = asked_.traits->limit_moves &&
                             (tells_growth(asked_.place, *asked_.traits) || asked_.traits->charged);
    return limit_tells ? address_of(stack.limit()) : last - 2 * lowest_touch / page * page;
  }

  /// Fills the page above the border and the buffer with bytes, none of which is 0xa5.
  static void fill_memory(std::uintptr_t border, std::size_t seed) {
    static const Bytes noise = [] {
      std::mt19937 chance;
      Bytes bytes(2 * buffer.size());
      std::generate(bytes.begin(), bytes.end(),
                    [&] { return static_cast<unsigned char>(chance() % 0xa5); });
      return bytes;
    }();
    const unsigned char* const from = noise.data() + seed % buffer.size();
    std::memcpy(reinterpret_cast<void*>(border), from, compared_above);
    std::memcpy(buffer.data(), from, buffer.size());
  }

  /// What nobody has touched is zero. So it is before the second touch, too; and before the first
  /// one of strategies that never give memory back.
  static void clear_below(std::uintptr_t border) {
    std::memset(reinterpret_cast<void*>(border - lowest_touch), 0, lowest_touch);
  }

  /// Copies the memory that both touches must leave equal. This touches all of it.
  [[nodiscard]] Bytes memory_around(std::uintptr_t border) const {
    constexpr std::size_t red_zone = 128;
    constexpr std::size_t compared = compared_below + compared_above;
    Bytes all(compared + buffer.size());
    std::memcpy(all.data(), reinterpret_cast<void*>(border - compared_below), compared);
    std::memcpy(all.data() + compared, buffer.data(), buffer.size());
    const std::uintptr_t begin = border - compared_below;
    const std::uintptr_t kept_from =
        std::max(proof_before.general[rsp], proof_after.general[rsp]) - red_zone;
    if (asked_.below_may_change && kept_from > begin) {
      const std::size_t changeable = kept_from - begin;
      std::fill_n(all.begin(), std::min(changeable, compared), static_cast<unsigned char>(0));
    }
    return all;
  }

  /// Returns whether the touch may find memory: what a lost signal's frame needed, or what the
  /// monitor has filled for the touch before. If a signal interrupts a thread that waits for the
  /// monitor, the thread tries again, and may find the page before the limit tells of it.
  [[nodiscard]] bool grows_otherwise() const {
    return asked_.below_may_change || (asked_.storm != nullptr && asked_.traits->grows_by == 0);
  }

  std::string try_at(Stack& stack, const Touch& touch, std::uintptr_t border) {
    const std::size_t seed = chance_();
    fill(proof_before, chance_);
    fill_memory(border, seed);
    if (!asked_.traits->trims) {
      clear_below(border);
    }
    const std::uintptr_t middle = address_of(buffer.data()) + buffer.size() / 2;

    // With signals whose handlers run here, what a touch uses lies above the stack pointer.
    const std::uintptr_t stack_pointer = asked_.below_may_change && touch.rsp == elsewhere
                                             ? border - compared_below
                                             : border + static_cast<std::uintptr_t>(touch.rsp);
    const auto run = [&] {
      if (asked_.storm != nullptr) {
        asked_.storm->set_timers(longest_delay);
      }
      registers::run(touch, border, stack_pointer, middle);
    };
    const auto grown = [&stack] { return stack.counters().growth_faults; };
    const auto at_first = grown();
    run();
    const auto by_touch = grown() - at_first;
    first_ = proof_after;
    const Bytes memory = memory_around(border);

    clear_below(border);
    fill_memory(border, seed);
    const auto before_second = grown();
    run();
    const auto by_second = grown() - before_second;
    const Bytes memory_again = memory_around(border);

    std::string wrong = difference(proof_after, first_);
    if (!touch.changes_registers) {
      wrong += difference(proof_before, first_);
    }
    if (memory != memory_again) {
      const auto at = std::mismatch(memory.begin(), memory.end(), memory_again.begin());
      wrong += " memory at border + " +
               std::to_string(at.first - memory.begin() - std::ptrdiff_t{compared_below});
    }
    if (by_touch == 0 && tells_growth(asked_.place, *asked_.traits) && !grows_otherwise()) {
      wrong += " no growth was seen";
    }
    return by_second == 0 ? wrong : wrong + " the second touch grew, too";
  }

  Asked asked_;
  std::mt19937_64 chance_{1};
  Registers first_{};
};

/// Tries all touches that need, or do not need, what only newer processors have.
int try_all(const Asked& asked, bool only_avx512) {
  Proof proof(asked);
  unsigned kinds = 0;
  for (const Touch& touch : touches()) {
    if (!has(touch.needs) || (touch.needs == Needs::avx512) != only_avx512) {
      continue;
    }
    ++kinds;
    const auto body = [&](Stack& stack) { return proof.try_on(stack, touch); };
    if (run_in(asked.place, *asked.traits, page_by_page, body, 2) != 0) {
      std::printf("after %u kinds\n", kinds);
      return 1;
    }
  }
  std::printf("%s, %s: %u kinds of touches\n", asked.traits->name.data(),
              name_of(asked.place).data(), kinds);
  return 7;
}

template <Place place>
int each_touch(const Traits& of) {
  return exists(place, of) ? try_all({.place = place, .traits = &of}, false) : 7;
}
const ScenarioOfEach<each_touch<Place::call>> in_call("touches in a call");
const ScenarioOfEach<each_touch<Place::thread>> in_thread("touches in a Thread");
const ScenarioOfEach<each_touch<Place::pooled_stack>> in_pool("touches on a pooled stack");
const ScenarioOfEach<each_touch<Place::forked_child>> in_child("touches in a forked child");

int each_wide_touch(const Traits& of) {
  for (const Place place : every_place) {
    if (exists(place, of) && try_all({.place = place, .traits = &of}, true) != 7) {
      return 1;
    }
  }
  return 7;
}
const ScenarioOfEach<each_wide_touch> wide("wide touches");

void check(const Ended& ended) {
  CHECK(ended.exit_code == 7);
  CHECK(ended.signal == 0);
  CHECK(ended.err == "");
  MESSAGE(ended.out);
}

template <class Of>
void check_touches(const std::string& where) {
  if (!__builtin_cpu_supports("avx")) {
    return skip("this processor has no AVX");
  }
  check(run_scenario_of(where, Of::traits));
}

}  // namespace

EVERY_STRATEGY("every register survives a growth by each kind of instruction, in a call") {
  check_touches<Of>("touches in a call");
}

EVERY_STRATEGY("every register survives a growth by each kind of instruction, in a Thread") {
  check_touches<Of>("touches in a Thread");
}

EVERY_STRATEGY("every register survives a growth by each kind of instruction, on a pooled stack") {
  if (!Of::traits.pools) {
    return skip("a pool cannot have this strategy");
  }
  check_touches<Of>("touches on a pooled stack");
}

EVERY_STRATEGY("every register survives a growth by each kind of instruction, in a forked child") {
  check_touches<Of>("touches in a forked child");
}

EVERY_STRATEGY("every register survives a growth by each instruction of AVX-512, in all places") {
  if (!has(Needs::avx512)) {
    return skip("this processor has no AVX-512");
  }
  check_touches<Of>("wide touches");
}

// ---- with signals -------------------------------------------------------------------------------

namespace {

/// Makes all touches again and again while signals come whose handlers change every register that
/// a function may change. With `plain`, these run on the stack itself.
/// Makes all touches again and again.
int touches_among(Storm& storm, const Asked& asked) {
  constexpr std::uint64_t least_signals = 10'000;
  Proof proof(asked);
  while (storm.sent_by_timers() < least_signals) {
    for (const Touch& touch : touches()) {
      if (!has(touch.needs) || (asked.below_may_change && touch.reads_below)) {
        continue;
      }
      const auto body = [&](Stack& stack) { return proof.try_on(stack, touch); };
      if (run_in(Place::call, *asked.traits, page_by_page, body) != 0 || !storm.wait()) {
        return 0;
      }
    }
  }
  return static_cast<int>(proof.growths);
}

/// Signals come meanwhile whose handlers change every register that a function may change. With
/// `plain`, these run on the stack itself.
template <bool plain>
int touches_in_a_storm(const Traits& of) {
  std::mt19937_64 chance(2);
  fill(proof_other, chance);
  const SignalKind kind{.flags = SA_RESTART | (plain ? 0 : SA_ONSTACK),
                        .also = [](std::uintptr_t) { proof_clobber(); }};
  Storm storm({&kind, 1});
  storm.aim_here();
  const int growths = touches_among(
      storm, {.place = Place::call, .traits = &of, .storm = &storm, .below_may_change = plain});
  const bool all_are_here = storm.aim_at_nobody();
  const Received got = storm.result();
  std::printf("%s: %d growths, %llu signals sent, %llu received, %llu lost\n", of.name.data(),
              growths, static_cast<unsigned long long>(got.sent),
              static_cast<unsigned long long>(got.received),
              static_cast<unsigned long long>(got.lost));
  return growths != 0 && all_are_here && got.adds_up() ? 7 : 1;
}
const ScenarioOfEach<touches_in_a_storm<false>> in_storm("touches in a storm");
const ScenarioOfEach<touches_in_a_storm<true>> in_plain_storm("touches in a plain storm");

}  // namespace

EVERY_STRATEGY(
    "every register survives growth while signals come whose handlers change all of them") {
  check_touches<Of>("touches in a storm");
}

EVERY_STRATEGY("the same holds if the handlers run on the growing stack itself") {
  const Ended ended = run_scenario_of("touches in a plain storm", Of::traits);
  CHECK(ended.exit_code == 7);
  CHECK(ended.signal == 0);
  MESSAGE(ended.out);
}

// ---- across a switch of stacks ------------------------------------------------------------------

namespace {

Stack* stack_of_call = nullptr;

void call_that_changes_control_registers() {
  call(*stack_of_call, [] {
    static_cast<void>(descend(200 * KiB));
    change_control_registers();
  });
}

int keeps_registers(const Traits& of) {
  Stack stack({.reserve = 6 * MiB, .policy = page_by_page, .strategy = of.strategy});
  stack_of_call = &stack;
  Kept before{};
  return kept_by(call_that_changes_control_registers, before) == before ? 7 : 1;
}
const ScenarioOfEach<keeps_registers> keeping("what a call keeps");

}  // namespace

EVERY_STRATEGY(
    "a call keeps what a function must keep for its caller, and what controls arithmetic") {
  check_touches<Of>("what a call keeps");
}
