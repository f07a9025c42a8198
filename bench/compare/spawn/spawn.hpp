// What the two halves of the group spawn agree on: spawn.cpp asks and reports, spawn_child.cpp
// measures.
#pragma once

#include <growstack/strategy.hpp>

#include <algorithm>
#include <array>
#include <string_view>

namespace growstack::compare {

/// Of strategies that are also measured without a pool: those people use today, and the one for
/// many stacks.
inline constexpr std::array made_fresh{Strategy::pipe_helper, Strategy::in_handler,
                                       Strategy::guard_markers};

inline bool is_made_fresh(std::string_view subject) {
  return std::any_of(made_fresh.begin(), made_fresh.end(),
                     [&](Strategy each) { return name(each) == subject; });
}

}  // namespace growstack::compare
