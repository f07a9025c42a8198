// Until the promises have a Measurement of their own.
#pragma once
#include "run/measurement.hpp"
namespace growstack::compare {
void compare_promises(Session& session);
nlohmann::json answer_promise(const nlohmann::json& request, Progress& progress);
}  // namespace growstack::compare
