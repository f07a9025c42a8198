// What options may ask for.
#pragma once

#include <growstack/options.hpp>

namespace growstack {

/// Returns the options in whole pages. Throws std::system_error: EINVAL if one is out of range.
[[nodiscard]] StackOptions validated(StackOptions options);

/// Returns whether GROWSTACK_INITIAL_COMMIT=page lets each use of a stack begin with one page, so
/// that nothing that was committed earlier may be kept for it.
[[nodiscard]] bool each_use_begins_with_one_page() noexcept;

}  // namespace growstack
