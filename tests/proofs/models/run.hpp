// Runs a model of faults, says how large it was, and checks that it has no fault.
#pragma once

#include "models/faults.hpp"
#include "models/say.hpp"

namespace modelled {

struct Ends {
  ::std::function<void()> set_up;
  ::std::function<void()> check;
};

inline explorer::Explored run(::std::vector<::std::function<void()>> threads, const Ends& ends) {
  const explorer::Model model{ends.set_up, ::std::move(threads), ends.check, name_all};
  explorer::Explored explored = explorer::explore(model);
  say_and_check(explored);
  return explored;
}

}  // namespace modelled
