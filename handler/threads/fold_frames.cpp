#include "threads/fold_frames.hpp"

#include <algorithm>

namespace growstack::handler {
namespace {

/// Returns how often the `length` frames at `first` stand there in a row.
std::size_t repetitions(std::span<const void* const> frames, std::size_t first,
                        std::size_t length) {
  std::size_t end = first + length;
  while (end < frames.size() && frames[end] == frames[end - length]) {
    ++end;
  }
  return (end - first) / length;
}

}  // namespace

std::vector<FrameRun> fold_frames(std::span<const void* const> frames, std::size_t longest_cycle) {
  std::vector<FrameRun> runs;
  for (std::size_t first = 0; first < frames.size();) {
    FrameRun run{.first = first};
    for (std::size_t length = 1; length <= longest_cycle && first + 2 * length <= frames.size();
         ++length) {
      const std::size_t count = repetitions(frames, first, length);
      if (count >= (length == 1 ? 2U : 3U)) {
        run = {.first = first, .length = length, .count = count};
        break;
      }
    }
    runs.push_back(run);
    first += run.length * run.count;
  }
  return runs;
}

}  // namespace growstack::handler
