// What pools and arenas ask of the rest of the library, where models do not look at the answer.
#include "arenas/single_stacks.hpp"
#include "arenas/validated_options.hpp"
#include "errors.hpp"
#include "memory/last_stacks.hpp"
#include "memory/overcommit.hpp"
#include "memory/residency.hpp"
#include "models/ledger.hpp"
#include "strategies/automatic.hpp"
#include "strategies/start_handler.hpp"

#include <growstack/attach.hpp>
#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/idle.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/report.hpp>

#include <cerrno>
#include <system_error>

namespace growstack {

std::vector<Strategy> automatic_candidates() { return {ledger::closes}; }
Circumstances circumstances_now(std::size_t /*budget*/) { return {}; }
std::string objection_to(const StrategyDescription& /*strategy*/, const StackOptions& /*options*/,
                         const Circumstances& /*circumstances*/) {
  return {};
}

StackOptions validated(StackOptions options) { return options; }
bool each_use_begins_with_one_page() noexcept { return false; }
bool untouched_memory_counts() noexcept { return false; }
std::size_t resident(std::uintptr_t /*begin*/, std::size_t /*size*/) noexcept { return 0; }
void start_handler(const Implementation& /*implementation*/) {}
void attach_thread() {}
void forget_stacks(std::uintptr_t /*begin*/, std::size_t /*size*/) noexcept {}

void fail(int error, const std::string& message) {
  throw std::system_error(error, std::system_category(), message);
}
void fail_for_memory(int error, const std::string& what, std::size_t /*bytes*/) {
  fail(error, what);
}
std::string refusal_of(int /*error*/) { return {}; }
std::string reason_of(const std::system_error& /*error*/) { return {}; }
std::string in_bytes(std::uint64_t /*bytes*/) { return {}; }

namespace handler {

void set_name(SlotRecord& /*slot*/, std::string_view /*name*/) noexcept {}
SlotRecord* live_slot(std::uintptr_t /*address*/, const Operations& /*operations*/) noexcept {
  return nullptr;
}
Disposition report_overflow(const SlotRecord& /*slot*/, const Fault& /*fault*/, void* /*context*/,
                            int /*error*/) noexcept {
  return Disposition::forward;
}
int refused_by_budget(BudgetRefusal /*refusal*/) noexcept { return EDQUOT; }
int look_after_idle(std::chrono::milliseconds /*due*/) noexcept { return 0; }

}  // namespace handler
}  // namespace growstack
