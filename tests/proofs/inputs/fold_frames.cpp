// fold_frames() against its words: what repeats at once is found by comparing whole blocks.
#include "input.hpp"

#include "threads/fold_frames.hpp"

#include <cstdint>
#include <vector>

namespace growstack::inputs {
namespace {

using Frames = std::vector<const void*>;

/// Returns how often the block stands there in a row.
std::size_t times(const Frames& frames, std::size_t first, std::size_t length) {
  std::size_t count = 1;
  for (;;) {
    const std::size_t next = first + count * length;
    if (next + length > frames.size()) {
      return count;
    }
    for (std::size_t index = 0; index < length; ++index) {
      if (frames[first + index] != frames[next + index]) {
        return count;
      }
    }
    ++count;
  }
}

}  // namespace

void try_input(Input& input) {
  const std::size_t longest = input.from(0, 9);
  const std::uint64_t letters = input.from(1, 4);
  Frames frames;
  while (!input.is_over()) {
    // Either a new frame, or a piece of what is there already, again.
    const std::size_t again = input.from(0, 31);
    if (again == 0 || again > frames.size()) {
      frames.push_back(reinterpret_cast<const void*>(input.from(1, letters)));
    } else {
      const Frames piece(frames.end() - static_cast<std::ptrdiff_t>(again), frames.end());
      frames.insert(frames.end(), piece.begin(), piece.end());
    }
  }

  std::size_t at = 0;
  for (const handler::FrameRun& run : handler::fold_frames(frames, longest)) {
    require_equal(run.first, at, "runs follow each other without gaps");
    std::size_t length = 1;
    std::size_t count = 1;
    for (std::size_t cycle = 1; count == 1 && cycle <= longest && at + cycle <= frames.size();
         ++cycle) {
      const std::size_t found = times(frames, at, cycle);
      if (found >= (cycle == 1 ? 2U : 3U)) {
        length = cycle;
        count = found;
      }
    }
    require_equal(run.length, length, "the shortest cycle is folded");
    require_equal(run.count, count, "and all of its occurrences");
    at += length * count;
  }
  require_equal(at, frames.size(), "no frame is lost");
}

}  // namespace growstack::inputs
