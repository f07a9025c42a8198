#include "memory/account.hpp"

#include "errors.hpp"

#include <growstack/stack.hpp>

namespace growstack {

std::string Account::explanation() const {
  if (whole_ != nullptr && whole_->left() < budget() - std::min(budget(), used())) {
    return whole_->explanation();
  }
  return std::string(option_) + " is " + in_bytes(budget()) + ", and " + in_bytes(used()) +
         " are committed, so that " + in_bytes(left()) +
         " are left: raise it, release stacks, or trim them";
}

namespace {
constinit Account the_process{"the budget of the process (set_process_budget)", nullptr};
}  // namespace

Account& process_account() noexcept { return the_process; }

void set_process_budget(std::size_t bytes) noexcept { the_process.set_budget(bytes); }
std::size_t process_budget() noexcept { return the_process.budget(); }

}  // namespace growstack
