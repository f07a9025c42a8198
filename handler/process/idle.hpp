// What is kept for later goes before the handler does.
#pragma once

namespace growstack::handler {

/// Lets the owner of ranges give back what nobody uses. Takes the owner's locks, so the caller must
/// have none.
void give_all_idle_back() noexcept;

}  // namespace growstack::handler
