// What a system call can answer besides what it was asked for: the errnos of its man page, those of
// a filter on system calls, and less than was asked for.
#pragma once

#include <linux/seccomp.h>

#include <string>
#include <vector>

namespace growstack::testing {

/// Says what a system call returns instead of what the kernel would have returned.
struct Answer {
  enum Kind : unsigned char {
    refusal,  ///< fails with `error`; nothing was done
    nothing,  ///< returns 0; nothing was done
    one_byte  ///< a read(2) or write(2) that transfers one byte and returns 1
  } kind = refusal;
  int error = 0;
};

/// Returns what this call can answer. Empty if nobody has said so yet: that is an error of the
/// table.
[[nodiscard]] std::vector<Answer> answers_of(const seccomp_data& call);

/// Returns a text such as "EPERM", "0" or "1 byte".
[[nodiscard]] std::string name_of(const Answer& answer);

/// Returns a text such as "madvise(advice 102)".
[[nodiscard]] std::string name_of(const seccomp_data& call);

}  // namespace growstack::testing
