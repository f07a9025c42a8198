// Folding a trace: ten thousand frames of a recursion become two lines of a report.
#include <doctest/doctest.h>

#include "threads/fold_frames.hpp"

#include <string>
#include <vector>

using growstack::handler::fold_frames;
using growstack::handler::FrameRun;

namespace {
/// Folds a trace in which each letter is a frame.
std::vector<FrameRun> fold(const std::string& letters) {
  static const char addresses[256] = {};
  std::vector<const void*> frames;
  for (const char letter : letters) {
    frames.push_back(&addresses[static_cast<unsigned char>(letter)]);
  }
  return fold_frames(frames);
}
}  // namespace

TEST_CASE("frames that differ stand alone") {
  CHECK(fold("abc") == std::vector<FrameRun>{{0, 1, 1}, {1, 1, 1}, {2, 1, 1}});
  CHECK(fold("").empty());
}

TEST_CASE("a run of the same frame is one run") {
  CHECK(fold("abbbbc") == std::vector<FrameRun>{{0, 1, 1}, {1, 1, 4}, {5, 1, 1}});
}

TEST_CASE("a cycle of several frames is one run, and what is left of the cycle stands alone") {
  CHECK(fold("xabcabcabcay") ==
        std::vector<FrameRun>{{0, 1, 1}, {1, 3, 3}, {10, 1, 1}, {11, 1, 1}});
}

TEST_CASE("two occurrences of several frames are not yet a cycle") {
  CHECK(fold("abab").size() == 4);
}

TEST_CASE("runs follow each other without gap or overlap") {
  for (const std::string& letters :
       {std::string("aaabababcccccd"), std::string("abcabcabcabcab"), std::string(1000, 'z')}) {
    std::size_t next = 0;
    for (const FrameRun& run : fold(letters)) {
      CHECK(run.first == next);
      next = run.first + run.length * run.count;
    }
    CHECK(next == letters.size());
  }
}
