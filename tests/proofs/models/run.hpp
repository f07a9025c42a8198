// Runs a model of faults, says how large it was, and checks that it has no fault.
#pragma once

#include "models/faults.hpp"

#include <doctest/doctest.h>

#include <cstdio>

namespace modelled {

struct Ends {
  ::std::function<void()> set_up;
  ::std::function<void()> check;
};

inline explorer::Explored run(::std::vector<::std::function<void()>> threads, const Ends& ends) {
  const explorer::Model model{ends.set_up, ::std::move(threads), ends.check, name_all};
  explorer::Explored explored = explorer::explore(model);
  ::std::printf("%s: %llu executions, %llu that end in another one, %llu steps\n",
                doctest::getContextOptions()->currentTest->m_name,
                static_cast<unsigned long long>(explored.executions),
                static_cast<unsigned long long>(explored.blocked),
                static_cast<unsigned long long>(explored.steps));
  static_cast<void>(::std::fflush(stdout));
  INFO(explored.trace);
  CHECK(explored.fault == "");
  return explored;
}

}  // namespace modelled
