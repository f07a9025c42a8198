// growstack_kept_calls: what a call costs in a program that is linked with growstack::keep_handler.
#include "first/timed_calls.hpp"
#include "parts/neighbour.hpp"

#include <growstack/handler/keep_handler.hpp>
#include <growstack/stack.hpp>

#include <csignal>
#include <stdexcept>

namespace growstack::compare {
namespace {

/// Answers as measure_lines does.
nlohmann::json answer(const nlohmann::json& request) {
  const Stack first;  // installs the handler
  if (!handler::is_kept(SIGSEGV)) {
    throw std::runtime_error("keep_handler does not keep the handler");
  }
  Progress silent(-1);
  return measure_lines(kept_calls(request.at("subjects")), request, silent);
}

}  // namespace
}  // namespace growstack::compare

int main(int argc, char** argv) {
  return growstack::bench::serve_as_neighbour(argc, argv, growstack::compare::answer);
}
