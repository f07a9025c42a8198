// A program that closes descriptors that it does not know, and opens files of its own at the same
// numbers.
#pragma once

#include "proofs/soak/random.hpp"

#include <sys/types.h>

#include <set>
#include <vector>

namespace growstack::soak {

class Descriptors {
 public:
  /// What is open now is the soak's own.
  Descriptors();

  /// Closes all that are not the soak's own, and opens some files at the same numbers. Nobody may
  /// be using a descriptor.
  void close_and_reopen(Random& random);
  /// Closes the pipe to the helper, while others use it. Not one that is being made: whoever makes
  /// a stack would get an error.
  void close_the_pipe();
  /// Says so if somebody has written to one of the files; closes them.
  void verify_and_forget();
  /// Says so if more is open than what is the soak's own.
  void expect_none_is_left() const;

 private:
  [[nodiscard]] std::vector<int> others() const;

  std::vector<int> own_;
  std::vector<int> reopened_;
  std::set<ino_t> seen_;  ///< the pipes that were open at the last look
};

}  // namespace growstack::soak
