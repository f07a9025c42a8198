// What options may ask for.
#pragma once

#include <growstack/options.hpp>

namespace growstack {

/// Returns the options in whole pages. Throws std::system_error: EINVAL if one is out of range.
[[nodiscard]] StackOptions validated(StackOptions options);

}  // namespace growstack
