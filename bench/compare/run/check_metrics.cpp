// check_metrics FILE: whether a comparison's JSON has a row, well formed, for every metric of every
// strategy and peer. Prints what is missing. It never looks at how large a value is, because a slow
// machine is no error.
#include "run/result_file.hpp"
#include "subjects/traits.hpp"

#include <string>

namespace growstack::compare {
namespace {

void expect_growth(ResultFile& file, const std::string& subject) {
  file.expect(subject, "noise 16KiB 64KiB 256KiB 1MiB 2MiB 16MiB 64MiB", "grow_ratio_");
  file.expect(subject, "real_regex_ok real_json_ok");
}

void expect_stack(ResultFile& file, const std::string& subject) {
  expect_growth(file, subject);
  file.expect(subject, "created deep returned trimmed released", "stage_rss_");
}

void expect_fiber(ResultFile& file, const std::string& subject) {
  file.expect(subject, "spawn_ns spawn_ratio live_stacks guards create_ns bytes_per_stack");
}

void expect_fault(ResultFile& file, const std::string& subject) {
  file.expect(subject, "fault_ns fault_cold_ns fault_floor_ns");
}

void expect_strategy(ResultFile& file, const StrategyDescription& strategy) {
  const std::string subject(strategy.name);
  expect_stack(file, subject);
  expect_fault(file, subject);
  file.expect(subject, "grow_faults_16MiB steady_call_ratio steady_call_instructions_ratio");
  if (gets_memory_late(strategy)) {
    file.expect(subject, "1 2 4 8 ratio_1 ratio_2 ratio_4 ratio_8", "grow_threads_");
  }
  if (trims_safely(strategy)) {
    file.expect(subject, "ratio faults resident_ratio far_ratio", "oscillate_");
  }
  if (grows_in_huge_pages(strategy) || strategy.strategy == baseline) {
    file.expect(subject, "fault_mappings_ratio");
  }
  if (strategy.pools()) {
    expect_fiber(file, subject);
    file.expect(subject, "spawn_pair_ns spawn_threads_ratio spawn_system_calls");
  }
  if (grows_in_huge_pages(strategy)) {
    file.expect(subject,
                "spawn_fresh_ns grow_ratio_1MiB_throughput grow_ratio_16MiB_throughput "
                "grow_us_1MiB_throughput grow_us_16MiB_throughput grow_to_huge_16MiB "
                "grow_to_huge_64MiB");
  }
  if (is_for_many(strategy)) {
    file.expect(subject,
                "vmas scale_grown_ok overflow_detected vmas_8MiB live_stacks_8MiB guards_8MiB "
                "create_ns_8MiB bytes_per_stack_8MiB rss_after_burst_ratio burst_system_calls "
                "rss_idle_fiber_pages_before rss_idle_fiber_pages fault_latency_ratio "
                "fault_latency_noise");
  }
}

void check(ResultFile& file) {
  for (const StrategyDescription& each : strategies()) {
    expect_strategy(file, each);
  }
  expect_stack(file, "glibc_thread_setstack");
  for (const char* const peer :
       {"glibc_thread", "boost_fixedsize", "boost_protected_fixedsize", "boost_pooled_fixedsize"}) {
    expect_stack(file, peer);
    expect_fiber(file, peer);
  }
  file.expect("glibc_thread", "real_large_regex_ok real_large_json_ok");
  file.expect("boost_pooled_fixedsize", "spawn_noise");
  expect_growth(file, "split_stack");
  file.expect("split_stack", "hot_call_ns hot_call_worst_ratio");
  expect_fault(file, "libsigsegv");
  expect_fault(file, "bare_handler");
}

}  // namespace
}  // namespace growstack::compare

int main(int argc, char** argv) {
  return growstack::compare::check_result_file(argc, argv, growstack::compare::check);
}
