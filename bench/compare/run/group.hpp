// The groups of measurements, in the order they are run. A new one is a file with a function of
// this kind, a line in main.cpp's list, and its child's task beside it.
#pragma once

#include "run/progress.hpp"
#include "run/session.hpp"

#include <nlohmann/json.hpp>

namespace growstack::compare {

/// Runs in the parent: measures in children, adds rows, prints.
struct Group {
  const char* name;
  void (*run)(Session& session);
};

void report_machine(Session& session);

void compare_stages(Session& session);
void compare_growth(Session& session);
void compare_hot_call(Session& session);
void compare_steady_call(Session& session);
void compare_oscillation(Session& session);
void compare_growth_threads(Session& session);
void compare_faults(Session& session);
void compare_fault_mappings(Session& session);
void compare_spawn(Session& session);
void compare_live_stacks(Session& session);
void compare_burst(Session& session);
void compare_idle_fibers(Session& session);
void compare_crowd_faults(Session& session);
void compare_real_programs(Session& session);
void compare_promises(Session& session);

/// The children's tasks.
nlohmann::json measure_stages(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_growth(const nlohmann::json& request, Progress& progress);
nlohmann::json ask_split_stack(const nlohmann::json& request, Progress& progress);
nlohmann::json ask_libsigsegv(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_steady_call(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_oscillation(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_growth_threads(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_fault_mappings(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_spawn(const nlohmann::json& request, Progress& progress);
nlohmann::json warm_for_stacks(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_live_stacks(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_burst(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_idle_fibers(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_crowd_faults(const nlohmann::json& request, Progress& progress);
nlohmann::json measure_faults(const nlohmann::json& request, Progress& progress);
nlohmann::json run_real_program(const nlohmann::json& request, Progress& progress);
nlohmann::json answer_promise(const nlohmann::json& request, Progress& progress);

}  // namespace growstack::compare
