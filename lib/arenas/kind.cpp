#include "arenas/kind.hpp"

#include <algorithm>
#include <tuple>

namespace growstack {

Kind Kind::of(const StackOptions& options) noexcept {
  Kind kind{.implementation = growstack::implementation(options.strategy),
            .policy = options.policy};
  kind.layout = kind.implementation->layout(options);
  // Markers count as written to, so a core has the window in any case.
  kind.layout.core_depth = std::max(options.core_depth, kind.layout.window);
  kind.policy.huge_from = kind.layout.huge_from;
  kind.policy.factor = std::min(options.policy.factor, kind.description().largest_factor);
  return kind;
}

namespace {

/// The rest of the layout follows from these values.
auto key_of(const Kind& kind) noexcept {
  return std::tie(kind.implementation, kind.layout.reserve, kind.layout.guard,
                  kind.layout.core_depth, kind.policy.initial_commit, kind.policy.factor,
                  kind.policy.least_step, kind.policy.largest_step, kind.policy.headroom,
                  kind.policy.huge_from);
}

}  // namespace

bool Kind::operator<(const Kind& other) const noexcept { return key_of(*this) < key_of(other); }

bool Kind::operator==(const Kind& other) const noexcept { return key_of(*this) == key_of(other); }

}  // namespace growstack
