// What single stacks and pools do before they open a stack.
#pragma once

#include "errors.hpp"
#include "strategies/implementation.hpp"

#include <growstack/options.hpp>

#include <string>
#include <system_error>

namespace growstack {

/// The options in whole pages. Throws EINVAL for what is out of range.
[[nodiscard]] StackOptions validated(StackOptions options);

/// The handler, the helper where the strategy needs it, what else that needs, and this thread's
/// alternate stack. Throws std::system_error.
void start_handler(const Implementation& implementation);

/// Calls `open` with the options, and for Strategy::automatic with its candidates until it does not
/// throw. Tells why the candidates before that one did.
template <class Open>
std::string open_with_best_strategy(StackOptions options, Open open) {
  std::string reasons;
  if (options.strategy == Strategy::automatic) {
    for (const Strategy candidate : {Strategy::guard_markers, Strategy::userfault_signal}) {
      options.strategy = candidate;
      try {
        open(options);
        return reasons;
      } catch (const std::system_error& error) {
        reasons += (reasons.empty() ? "" : "; ") + reason_of(error);
      }
    }
    options.strategy = Strategy::pipe_helper;
  }
  open(options);
  return reasons;
}

}  // namespace growstack
