// Instructions that ran: a count that no other load on the machine moves.
#pragma once

#include <cstdint>
#include <string>

namespace growstack::bench {

/// Counts those of the thread that made it, in user mode. Virtual machines usually have no such
/// counter.
class InstructionCounter {
 public:
  InstructionCounter();
  ~InstructionCounter();
  InstructionCounter(const InstructionCounter&) = delete;
  InstructionCounter& operator=(const InstructionCounter&) = delete;

  /// Empty if it counts; otherwise what perf_event_open(2) said.
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

  /// So far, since it was made. Throws std::system_error.
  [[nodiscard]] std::uint64_t count() const;

 private:
  int descriptor_;
  std::string error_;
};

}  // namespace growstack::bench
