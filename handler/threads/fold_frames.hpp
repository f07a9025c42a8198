// Deep recursion in few lines: in a trace of many frames, short cycles repeat thousands of times.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace growstack::handler {

/// Frames [first, first + length) of a trace, which stand there `count` times in a row.
struct FrameRun {
  std::size_t first = 0;
  std::size_t length = 1;
  std::size_t count = 1;

  bool operator==(const FrameRun&) const = default;
};

/// Cuts a trace into runs, in order and without gaps. Folds a single frame from its second
/// occurrence on, and a cycle of up to `longest_cycle` frames from its third. Allocates; not for
/// signal handlers.
[[nodiscard]] std::vector<FrameRun> fold_frames(std::span<const void* const> frames,
                                                std::size_t longest_cycle = 32);

}  // namespace growstack::handler
