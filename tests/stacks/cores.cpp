// The core of a crash: the stacks in use are in it, their reservations are not.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/core_dump.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/limits.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;
using growstack::Strategy;

namespace {

constexpr std::size_t marker_bytes = 64;
using Marker = std::array<unsigned char, marker_bytes>;

/// Writes bytes that are nowhere else: neither the program nor its data has them as a whole.
void write_marker(volatile unsigned char* place, unsigned kind) {
  for (std::size_t index = 0; index < marker_bytes; ++index) {
    place[index] = static_cast<unsigned char>((index * 73 + kind * 29 + 7) ^ (index >> 1U));
  }
}

Marker marker(unsigned kind) {
  Marker bytes;
  write_marker(bytes.data(), kind);
  return bytes;
}

enum Kind : unsigned { shallow = 1, deep = 2, trimmed = 3 };

void mark(std::size_t depth, Kind kind) {
  const std::uintptr_t place = GROWSTACK_HERE - depth;
  touch_in_one_jump(place);
  write_marker(reinterpret_cast<volatile unsigned char*>(place), kind);
}

/// Makes three stacks, trims one of them, and aborts the process while a call runs.
int crash(const Traits& of) {
  allow_cores_in(std::getenv("GROWSTACK_TEST_FOLDER"));
  raise_soft_limit(RLIMIT_STACK);
  const growstack::StackOptions options{.reserve = 256 * GiB, .strategy = of.strategy};
  Stack idle(options);
  Stack given_back(options);
  Stack running(options);
  call(idle, [] { mark(64 * KiB, shallow); });
  call(given_back, [] { mark(20 * MiB, trimmed); });
  if (of.trims && given_back.trim()) {
    return 2;
  }
  call(running, [] {
    mark(40 * MiB, deep);
    std::abort();
  });
  return 3;
}

const ScenarioOfEach<crash> crash_of("crash");

constexpr std::size_t many = 1000;
constexpr std::size_t depth_of_many = 256 * KiB;

/// Aborts a process in which a thousand stacks were used in turn, one of them deep. Each is made
/// beside one that was used already.
int crash_with(std::vector<Stack>& stacks, const std::function<Stack()>& make) {
  allow_cores_in(std::getenv("GROWSTACK_TEST_FOLDER"));
  while (stacks.size() < many) {
    stacks.push_back(make());
    call(stacks.back(), [] { mark(KiB, shallow); });
  }
  call(stacks[many / 2], [] {
    mark(4 * MiB, deep);
    std::abort();
  });
  return 3;
}

int crash_with_pool(const Traits& of) {
  growstack::StackPool pool(
      {.reserve = 8 * MiB, .strategy = of.strategy, .core_depth = depth_of_many});
  std::vector<Stack> stacks;
  return crash_with(stacks, [&] { return pool.acquire(); });
}
const ScenarioOfEach<crash_with_pool> crash_with_pool_of("crash with a pool");

int crash_with_stacks(const Traits& of) {
  const growstack::StackOptions options{
      .reserve = 8 * MiB, .strategy = of.strategy, .core_depth = depth_of_many};
  std::vector<Stack> stacks;
  return crash_with(stacks, [&] { return Stack(options); });
}
const ScenarioOfEach<crash_with_stacks> crash_with_stacks_of("crash with stacks");

/// Returns why no core can be had here. Empty if one can.
std::string nothing_to_see_because() {
  return limits_of(RLIMIT_STACK).rlim_max == RLIM_INFINITY
             ? no_core_because()
             : "the hard RLIMIT_STACK forbids a MAP_GROWSDOWN stack of any size";
}

/// Returns which of the markers are in a file. Reads only what is not a hole.
std::vector<bool> markers_in(const std::filesystem::path& file,
                             const std::vector<Marker>& markers) {
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  std::vector<bool> found(markers.size(), false);
  std::vector<unsigned char> block(4 * MiB);
  off_t begin = 0;
  while ((begin = lseek(descriptor, begin, SEEK_DATA)) >= 0) {
    const off_t end = lseek(descriptor, begin, SEEK_HOLE);
    while (begin < end) {
      const std::size_t wanted = std::min(block.size(), static_cast<std::size_t>(end - begin));
      const ssize_t bytes = pread(descriptor, block.data(), wanted, begin);
      if (bytes <= 0) {
        break;
      }
      for (std::size_t index = 0; index < markers.size(); ++index) {
        const std::boyer_moore_horspool_searcher searcher(markers[index].begin(),
                                                          markers[index].end());
        found[index] = found[index] || std::search(block.begin(), block.begin() + bytes,
                                                   searcher) != block.begin() + bytes;
      }
      // A marker may lie across two blocks.
      begin += bytes < static_cast<ssize_t>(marker_bytes) || begin + bytes == end
                   ? bytes
                   : bytes - ssize_t{marker_bytes};
    }
  }
  close(descriptor);
  return found;
}

}  // namespace

STRATEGIES_WHERE(
    traits.pools&& traits.trims,
    "the core of a process with a thousand stacks has each of them in full only down to its core "
    "depth, and the one that was deeper with all that it used") {
  if (const std::string reason = no_core_because(); !reason.empty()) {
    return skip(reason);
  }
  for (const char* const scenario : {"crash with a pool", "crash with stacks"}) {
    const Folder folder;
    setenv("GROWSTACK_TEST_FOLDER", folder.path().c_str(), 1);
    const Ended ended = run_scenario_of(scenario, Of::traits, std::chrono::seconds(100));
    CAPTURE(ended.err);
    CHECK(ended.signal == SIGABRT);
    const std::vector<std::filesystem::path> files = folder.files();
    REQUIRE(files.size() == 1);

    constexpr std::size_t guard = 64 * KiB;
    constexpr bool has_markers = Of::traits.grown_by_events != SIZE_MAX;
    constexpr std::size_t depth = has_markers ? marker_window : depth_of_many;
    struct stat core {};
    REQUIRE(stat(files[0].c_str(), &core) == 0);
    CHECK(core.st_size < static_cast<off_t>(many * (depth + guard) + 256 * MiB));
    const std::vector<bool> found = markers_in(files[0], {marker(shallow), marker(deep)});
    CHECK(found[0]);
    CHECK(found[1]);
  }
}

STRATEGIES_WHERE(traits.trims,
                 "the core of a process with three stacks of 256 GiB "
                 "has what they use, and nothing of what they reserve") {
  if (const std::string reason = nothing_to_see_because(); !reason.empty()) {
    return skip(reason);
  }
  const Folder folder;
  setenv("GROWSTACK_TEST_FOLDER", folder.path().c_str(), 1);
  const Ended ended = run_scenario_of("crash", Of::traits, std::chrono::seconds(100));
  CHECK(ended.signal == SIGABRT);
  CHECK(ended.dumped_core);
  const std::vector<std::filesystem::path> files = folder.files();
  REQUIRE(files.size() == 1);

  struct stat core {};
  REQUIRE(stat(files[0].c_str(), &core) == 0);
  CHECK(core.st_size < static_cast<off_t>(2 * GiB));
  CHECK(core.st_blocks * 512 < static_cast<off_t>(64 * MiB));
  const std::vector<bool> found =
      markers_in(files[0], {marker(shallow), marker(deep), marker(trimmed)});
  CHECK(found[0]);
  CHECK(found[1]);
  CHECK(!found[2]);
}
