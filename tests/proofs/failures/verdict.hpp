// What became of a run: it worked, it was told why it did not, or it is bad.
#pragma once

#include "proofs/failures/supervisor.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace growstack::testing {

struct Ending;

enum class Outcome : std::uint8_t {
  works,      ///< as if nothing had failed
  returned,   ///< a function that does not throw returned the errno of the call
  exception,  ///< a std::system_error names call, errno and cure
  bad_alloc,  ///< the language's own word for no memory
  libc,       ///< libc ends the process, and says so: the call was one of its own
  report,     ///< a death by signal, after a line on standard error that names call, errno, cure
  bad
};

struct Verdict {
  Outcome outcome = Outcome::bad;
  std::string why;  ///< of what is bad
};

/// Compares a run with one in which nothing failed. `failed` is the call that failed, and how;
/// none if nothing did.
[[nodiscard]] Verdict judge(const Run& run, const Run& usual,
                            const std::optional<std::pair<Call, Failure>>& failed,
                            const Ending& ending);

}  // namespace growstack::testing
