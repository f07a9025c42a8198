// Calls of libc that fill a local array. The kernel writes to it, so no fault of the program's own
// makes the stack grow there. The call itself does: it pushes its return address below the array.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <functional>
#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Only what the test says is touched before libc is called.
template <std::size_t bytes>
struct Frame {
  char below[bytes / 2];
  char buffer[bytes / 2];
};

/// Returns whether pread() fills the upper half of a frame from a file.
template <std::size_t bytes>
[[gnu::noinline]] bool reads_all() {
  Frame<bytes> frame;
  const int file = memfd_create("data", MFD_CLOEXEC);
  const std::string data(sizeof frame.buffer, 'x');
  if (write(file, data.data(), data.size()) != static_cast<ssize_t>(data.size())) {
    return false;
  }
  const ssize_t got = pread(file, frame.buffer, sizeof frame.buffer, 0);
  close(file);
  keep(&frame);
  return got == static_cast<ssize_t>(data.size()) &&
         std::memcmp(frame.buffer, data.data(), data.size()) == 0;
}

/// Returns whether recv() brings a datagram to the middle of a frame.
template <std::size_t bytes>
[[gnu::noinline]] bool receives_all() {
  constexpr std::size_t size = 2000;
  Frame<bytes> frame;
  int ends[2];
  const std::string data(size, 'x');
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) != 0 ||
      write(ends[0], data.data(), size) != static_cast<ssize_t>(size)) {
    return false;
  }
  const ssize_t got = recv(ends[1], frame.buffer, size, 0);
  close(ends[0]);
  close(ends[1]);
  keep(&frame);
  return got == static_cast<ssize_t>(size) && std::memcmp(frame.buffer, data.data(), size) == 0;
}

/// Runs a body on stacks of every kind, each of them fresh.
struct Stacks {
  Strategy strategy;
  const char* kind;
  bool run(const std::function<bool()>& body) const {
    bool result = false;
    const auto run_it = [&] { result = body(); };
    const std::string wanted(kind);
    if (wanted == "pooled") {
      StackPool pool({.reserve = 6 * MiB, .strategy = strategy});
      Stack stack = pool.acquire();
      call(stack, run_it);
    } else if (wanted == "single") {
      call(StackOptions{.reserve = 6 * MiB, .strategy = strategy}, run_it);
    } else {
      Thread({.reserve = 6 * MiB, .strategy = strategy}, run_it).join();
    }
    return result;
  }
};

template <std::size_t bytes>
void check_frames_of(const Traits& traits) {
  for (const char* const kind : {"pooled", "single", "thread"}) {
    if (std::string(kind) == "pooled" && !traits.pools) {
      continue;
    }
    CAPTURE(kind);
    CAPTURE(bytes);
    const Stacks stacks{traits.strategy, kind};
    CHECK(stacks.run(reads_all<bytes>));
    CHECK(stacks.run(receives_all<bytes>));
  }
}

}  // namespace

EVERY_STRATEGY("libc fills an array in a frame of 300 KiB or 1 MiB that nobody has touched") {
  check_frames_of<300 * KiB>(Of::traits);
  check_frames_of<MiB>(Of::traits);
}

STRATEGIES_WHERE(traits.grown_by_events == SIZE_MAX,
                 "libc fills an array in a frame of 4 MiB that nobody has touched") {
  check_frames_of<4 * MiB>(Of::traits);
}

TEST_CASE("the strategy that automatic takes first lets libc fill an array of any size") {
  if (const Support here = supported(Strategy::userfault_signal); !here) {
    return skip(here.reason);
  }
  StackPool pool({.reserve = 64 * MiB});
  CHECK(pool.strategy() == Strategy::userfault_signal);
  Stack stack = pool.acquire();
  CHECK(call(stack, reads_all<32 * MiB>));
}

STRATEGIES_WHERE(traits.grown_by_events == SIZE_MAX && !traits.grows_by_protection,
                 "libc fills an array in a frame of 4 MiB in a forked child, too") {
  StackOptions options{.reserve = 6 * MiB, .strategy = Of::strategy};
  Stack stack(options);
  CHECK(exit_code_of_child([&] {
          return call(stack, reads_all<4 * MiB>) && call(stack, receives_all<MiB>) ? 7 : 1;
        }) == 7);
}

ONE_STRATEGY(Strategy::guard_markers,
             "a frame of 4 MiB jumps over the markers: libc's data is short or lost, and the next "
             "trim counts that") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::guard_markers});
  CHECK_FALSE(call(stack, reads_all<4 * MiB>));
  CHECK(stack.counters().unseen_growth == 0);
  CHECK_FALSE(stack.trim());
  CHECK(stack.counters().unseen_growth == 1);
}
