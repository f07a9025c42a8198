// claims_split_stack: what the claim about split stacks is told. A program of its own, because it
// needs its own linker. Prints
//
//     compares DEPTHS HOT USUAL_RATIO HOT_RATIO
//
// whether split code compares the stack pointer at the beginning of a function (1) and plain code
// does not; at how many depths a call was tried, and at how many of these its frame was elsewhere;
// what a call costs at the usual depth as a ratio to plain code, and what at the worst as a ratio
// to the usual.
#include "split_code.hpp"

#include "support/machine/machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

using namespace growstack::testing;

namespace {

struct Visit {
  const SplitCode& code;
  bool is_elsewhere = false;
  double nanoseconds = std::numeric_limits<double>::infinity();
};

/// Of several tries the quickest counts: what interrupts a program only ever adds.
double time_calls(const SplitCode& code) {
  constexpr std::size_t calls = 200;
  double quickest = std::numeric_limits<double>::infinity();
  for (int each = 0; each < 3; ++each) {
    const auto before = std::chrono::steady_clock::now();
    code.call_leaf(calls);
    const std::chrono::duration<double, std::nano> taken =
        std::chrono::steady_clock::now() - before;
    quickest = std::min(quickest, taken.count() / static_cast<double>(calls));
  }
  return quickest;
}

/// On an unsplit stack the frame of a function that is called lies right below that of its caller.
/// This runs on what is left of a piece, 1 KiB at least, without asking for more: it is not split
/// code.
void visit(void* argument) {
  constexpr std::uintptr_t beside = 1024;
  auto& it = *static_cast<Visit*>(argument);
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  it.is_elsewhere = here - it.code.leaf() > beside;  // unsigned: above is far as well
  it.nanoseconds = time_calls(it.code);
}

double median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return samples.at(samples.size() / 2);
}

}  // namespace

int main() {
  constexpr std::size_t depths =
      1500;  // one small frame apart: more than the 16 KiB that the first piece has
  std::vector<double> with;
  std::vector<double> without;
  std::size_t hot = 0;
  for (std::size_t frames = 0; frames < depths; ++frames) {
    Visit split_visit{.code = split};
    Visit plain_visit{.code = plain};
    split.at_depth(frames, visit, &split_visit);
    plain.at_depth(frames, visit, &plain_visit);
    with.push_back(split_visit.nanoseconds);
    without.push_back(plain_visit.nanoseconds);
    hot += split_visit.is_elsewhere ? 1 : 0;
  }
  const bool compares = machine::reads_end_of_split_stack(split.leaf) &&
                        !machine::reads_end_of_split_stack(plain.leaf);
  fmt::print("{} {} {} {} {}\n", compares ? 1 : 0, depths, hot, median(with) / median(without),
             *std::max_element(with.begin(), with.end()) / median(with));
  return 0;
}
