// Counts instructions: other load on the machine does not change that number.
#pragma once

#include <cstdint>
#include <string>

namespace growstack::bench {

/// Counts the instructions of the thread that makes it, in user mode. Virtual machines usually have
/// no such counter.
class InstructionCounter {
 public:
  InstructionCounter();
  ~InstructionCounter();
  InstructionCounter(const InstructionCounter&) = delete;
  InstructionCounter& operator=(const InstructionCounter&) = delete;

  /// Returns why it does not count, as perf_event_open(2) said; empty if it counts.
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

  /// Returns the number of instructions since it was made. Throws std::system_error.
  [[nodiscard]] std::uint64_t count() const;

 private:
  int descriptor_;
  std::string error_;
};

}  // namespace growstack::bench
