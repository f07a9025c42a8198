// What each case of a model prints and checks.
#pragma once

#include "explorer/explorer.hpp"

#include <doctest/doctest.h>

#include <cstdio>

namespace modelled {

/// Says how large the case was, and checks that it has no fault.
inline void say_and_check(const explorer::Explored& explored) {
  ::std::printf("%s: %llu executions with %llu steps; %llu more were begun, and waited in a loop\n",
                doctest::getContextOptions()->currentTest->m_name,
                static_cast<unsigned long long>(explored.executions),
                static_cast<unsigned long long>(explored.steps),
                static_cast<unsigned long long>(explored.blocked));
  static_cast<void>(::std::fflush(stdout));
  INFO(explored.trace);
  CHECK(explored.fault == "");
}

}  // namespace modelled
