// claims_split_stack: the program that the claim about split stacks runs, because it needs a linker
// of its own. It prints
//
//     COMPARES DEPTHS HOT USUAL_RATIO HOT_RATIO
//
// COMPARES is 1 if split code compares the stack pointer at the beginning of a function and plain
// code does not. A call was tried at DEPTHS depths, and at HOT of these its frame was elsewhere.
// USUAL_RATIO is the cost of a call at the usual depth, as a ratio to plain code. HOT_RATIO is its
// cost at the worst depth, as a ratio to the usual one.
#include "split_code.hpp"

#include "claims/median.hpp"
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

/// Returns the time of a call. The quickest of several tries counts, because an interruption only
/// adds time.
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

/// Looks where the frame of a called function lies. On an unsplit stack it lies right below the
/// frame of its caller. This is not split code, so it runs on what is left of a piece, 1 KiB at
/// least.
void visit(void* argument) {
  constexpr std::uintptr_t beside = 1024;
  auto& it = *static_cast<Visit*>(argument);
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  it.is_elsewhere = here - it.code.leaf() > beside;  // unsigned, so above is far as well
  it.nanoseconds = time_calls(it.code);
}

}  // namespace

int main() {
  // They are one small frame apart, and reach beyond the 16 KiB of the first piece.
  constexpr std::size_t depths = 1500;
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
