// Runs a process all of whose system calls come here first, from all its threads and children:
// seccomp's user notification. The supervisor is another process, so that whatever happens to the
// one that is watched happens to it alone.
#pragma once

#include "proofs/failures/answers.hpp"
#include "proofs/failures/census.hpp"

#include <linux/seccomp.h>

#include <chrono>
#include <compare>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace growstack::testing {

/// Finds a call again in another run, also if the threads take turns in another way: it is the
/// n-th of this number in the n-th thread of the n-th process.
struct Place {
  unsigned process = 0;  ///< 0: the first one; its children follow in the order of their birth
  unsigned thread = 0;   ///< of the process, in the order of their birth
  long number = 0;
  unsigned occurrence = 0;

  auto operator<=>(const Place&) const = default;
};

/// A call that was watched.
struct Call {
  Place place;
  seccomp_data data;
  bool gives_parts = false;  ///< may transfer less than was asked for: of a regular file
  std::string thread;        ///< what the thread is called at the end
};

/// What shall fail.
struct Failure {
  Place place;
  Answer answer;
  bool for_good = false;  ///< from then on every call of the number fails, in every thread
};

/// An error code that a function returned.
struct Returned {
  int error = 0;
  std::string function;
};

/// How a run went.
struct Run {
  std::vector<Call> calls;
  bool has_failed = false;   ///< the failure came about
  bool has_no_part = false;  ///< the call came, but was to transfer less than two bytes
  bool is_stopped = false;   ///< killed, because it did not end
  bool is_finished = false;  ///< all checks were made
  int status = 0;            ///< as of wait(2)
  std::chrono::milliseconds took{};
  std::string err;
  std::vector<std::string> wrong;
  std::optional<std::string> threw;  ///< the message of a std::system_error
  bool threw_bad_alloc = false;
  std::vector<Returned> returned;
  Census census;
};

/// Runs body() in a child of the calling process, which must have only one thread.
[[nodiscard]] Run run_watched(const std::function<void()>& body, const Failure* failure = nullptr);

}  // namespace growstack::testing
