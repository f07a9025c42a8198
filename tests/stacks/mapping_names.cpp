// The names of our memory in /proc/self/maps. The kernel merges only mappings that have the same
// name. Memory that is mapped anew loses its name, and would cost a mapping if it were not named
// again. The tests look at what the library asks of the kernel, so they also run on a kernel that
// knows no names.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/stack_pool.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/supervised.hpp"
#include "support/units.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr std::uint32_t set_vma = 0x53564d41;  // PR_SET_VMA, and PR_SET_VMA_ANON_NAME is 0

struct Stretch {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
};

/// The memory that has a name, in the eyes of a kernel that knows names. The supervisor writes here
/// and the supervised thread reads. Neither may allocate meanwhile, because that could make a
/// system call that waits for the supervisor.
class Named {
 public:
  Named() {
    stretches_.reserve(most);
    next_.reserve(most);
  }

  void cut(std::uintptr_t begin, std::uintptr_t end) {
    const std::lock_guard lock(mutex_);
    without(begin, end);
  }

  void add(std::uintptr_t begin, std::uintptr_t end) {
    const std::lock_guard lock(mutex_);
    without(begin, end);
    stretches_.push_back({begin, end});
  }

  /// Returns whether all of [begin, end) has a name.
  bool all_of(std::uintptr_t begin, std::uintptr_t end) {
    const std::lock_guard lock(mutex_);
    for (std::size_t steps = 0; begin < end && steps <= stretches_.size(); ++steps) {
      for (const Stretch& each : stretches_) {
        if (each.begin <= begin && begin < each.end) {
          begin = each.end;
        }
      }
    }
    return begin >= end;
  }

 private:
  static constexpr std::size_t most = 4096;

  void without(std::uintptr_t begin, std::uintptr_t end) {
    next_.clear();
    for (const Stretch& each : stretches_) {
      if (each.begin < std::min(each.end, begin)) {
        next_.push_back({each.begin, std::min(each.end, begin)});
      }
      if (std::max(each.begin, end) < each.end) {
        next_.push_back({std::max(each.begin, end), each.end});
      }
    }
    std::swap(stretches_, next_);
    if (stretches_.size() > most - 2) {
      std::fputs("NOT FULFILLED: named stretches are few\n", stderr);
      _exit(101);
    }
  }

  std::mutex mutex_;
  std::vector<Stretch> stretches_;
  std::vector<Stretch> next_;
};

/// A kernel that knows names, or one that does not.
class Kernel {
 public:
  explicit Kernel(int error) : error_(error) {}

  void run(const std::function<void()>& body) {
    supervise(
        {{SYS_prctl, set_vma}, {SYS_mmap}, {SYS_munmap}},
        [&](const seccomp_data& call) { return answer(call); }, body);
  }

  [[nodiscard]] int asked() const { return asked_; }
  /// Returns the names that were given, once run() has returned.
  [[nodiscard]] const std::set<std::string>& names() const { return names_; }

  /// Returns whether all that is mapped in [begin, end) has a name. Memory that the kernel adds to
  /// a mapping that grows down has the name of the page with which the mapping began.
  bool all_named(std::uintptr_t begin, std::uintptr_t end) {
    const auto pieces =
        mappings_in(reinterpret_cast<const void*>(begin), reinterpret_cast<const void*>(end));
    return std::all_of(pieces.begin(), pieces.end(), [this](const Mapping& piece) {
      return stacks_.all_of(piece.has_flag("gd") ? piece.end - handler::page_size() : piece.begin,
                            piece.end);
    });
  }

 private:
  Answer answer(const seccomp_data& call) {
    const std::uintptr_t first = call.args[0];
    if (call.nr == SYS_prctl) {
      return name(call.args[2], call.args[3], reinterpret_cast<const char*>(call.args[4]));
    }
    if (call.nr == SYS_munmap || (call.args[3] & MAP_FIXED) != 0) {
      stacks_.cut(first, first + call.args[1]);
    }
    return {};
  }

  Answer name(std::uintptr_t begin, std::size_t size, const char* text) {
    asked_ = asked_ + 1;
    names_.insert(text);
    if (error_ == 0 && std::strcmp(text, "growstack stacks") == 0) {
      stacks_.add(begin, begin + size);
    }
    // The rules are the kernel's.
    const bool may_be = std::strlen(text) < 80 && std::strpbrk(text, "[]\\`$") == nullptr &&
                        begin % handler::page_size() == 0;
    return {.by_kernel = false, .error = may_be ? error_ : EINVAL};
  }

  const int error_;
  std::atomic<int> asked_{0};
  std::set<std::string> names_;
  Named stacks_;
};

StackOptions options_for(Strategy strategy) { return {.reserve = 6 * MiB, .strategy = strategy}; }

Stretch slot_of(const Stack& stack) {
  return {address_of(stack.floor()) - StackOptions{}.guard, address_of(stack.base())};
}

/// Makes stacks, makes them grow and shrink, ends one beside another, and looks after each step.
void live(Kernel& kernel, const Traits& of) {
  const auto look = [&](const Stretch& slot, const char* when) {
    require(kernel.all_named(slot.begin, slot.end), std::string("all is named ") + when);
  };
  Stack stays(options_for(of.strategy));
  look(slot_of(stays), "when the first stack is made");
  Stretch gone;
  {
    Stack goes(options_for(of.strategy));
    gone = slot_of(goes);
    call(goes, [] { descend(MiB); });
    look(gone, "when the second has grown");
  }
  look(gone, "where one has ended");
  const Stack comes(options_for(of.strategy));
  look(slot_of(comes), "where another has begun");

  for (int times = 0; times < 3; ++times) {
    const int before = kernel.asked();
    call(stays, [] { descend(4 * MiB); });
    require(kernel.asked() == before, "growth asks for no name");
    look(slot_of(stays), "after growth");
    if (of.trims) {
      require(!stays.trim(), "a stack can be trimmed");
      look(slot_of(stays), "after a trim");
    }
  }
  if (of.pools) {
    StackPool pool({.reserve = MiB, .strategy = of.strategy});
    std::vector<Stretch> slots;
    for (int times = 0; times < 2; ++times) {
      std::vector<Stack> stacks;
      for (int count = 0; count < 20; ++count) {
        stacks.push_back(pool.acquire());
        slots.push_back(slot_of(stacks.back()));
        call(stacks.back(), [] { descend(MiB / 2); });
      }
      stacks.clear();
      for (const Stretch& slot : slots) {
        look(slot, "of a pool whose stacks came back");
      }
      pool.trim();
      for (const Stretch& slot : slots) {
        look(slot, "of a pool that was trimmed");
      }
    }
  }
}

int names_of(const Traits& of) {
  Kernel kernel(0);
  kernel.run([&] { live(kernel, of); });
  for (const std::string& name : kernel.names()) {
    std::printf("%s\n", name.c_str());
  }
  std::fflush(stdout);
  _exit(kernel.asked() > 4 ? 7 : 1);
}
const ScenarioOfEach<names_of> names("names");

bool is_unsupervised(const Ended& ended) {
  if (ended.exit_code == no_filters) {
    skip("system calls cannot be watched here: " + ended.err);
  }
  return ended.exit_code == no_filters;
}

/// Returns whether this kernel itself knows names.
bool kernel_knows_names() {
  void* const page =
      mmap(nullptr, handler::page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool knows = prctl(set_vma, 0, page, handler::page_size(), "growstack test") == 0;
  munmap(page, handler::page_size());
  return knows;
}

std::size_t mappings_named(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += contains(line, "[anon:" + name + "]") ? 1 : 0;
  }
  return count;
}

}  // namespace

STRATEGIES_WHERE(
    traits.own_address_space,
    "every page of a stack has the name, whatever was mapped anew, and growth asks for no name") {
  const Ended ended = run_scenario_of("names", Of::traits);
  if (is_unsupervised(ended)) {
    return;
  }
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 7);
  for (const char* const name :
       {"growstack stacks\n", "growstack signal stack\n", "growstack service thread\n",
        "growstack records\n", "growstack table\n"}) {
    CAPTURE(name);
    CHECK(contains(ended.out, name));
  }
}

GROWSTACK_SCENARIO("names are unknown") {
  Kernel kernel(EINVAL);
  kernel.run([] {
    Stack stack(options_for(Strategy::pipe_helper));
    for (int times = 0; times < 3; ++times) {
      call(stack, [] { descend(4 * MiB); });
      require(!stack.trim(), "a stack can be trimmed");
    }
  });
  std::printf("asked %d times\n", kernel.asked());
  std::fflush(stdout);
  _exit(7);
}

TEST_CASE("a kernel that knows no names is asked once, and all else works") {
  const Ended ended = run_scenario("names are unknown");
  if (is_unsupervised(ended)) {
    return;
  }
  CHECK(ended.exit_code == 7);
  CHECK(ended.out == "asked 1 times\n");
}

TEST_CASE(
    "the names are in /proc/self/maps, and a stack that grew "
    "and was trimmed a hundred times still has two mappings") {
  if (!kernel_knows_names()) {
    return skip(
        "this kernel does not know names of anonymous "
        "memory (Linux 5.17 with CONFIG_ANON_VMA_NAME)");
  }
  Stack stack(options_for(Strategy::pipe_helper));
  for (int times = 0; times < 100; ++times) {
    call(stack, [] { descend(4 * MiB); });
    REQUIRE(!stack.trim());
  }
  CHECK(mappings_in(stack.floor(), stack.base()).size() == 2);
  for (const std::string name :
       {"growstack stacks", "growstack signal stack", "growstack service thread",
        "growstack records", "growstack table"}) {
    CAPTURE(name);
    CHECK(mappings_named(name) > 0);
  }
}
