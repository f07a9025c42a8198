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

/// The group first.
void expect_fibers_of_every_depth(ResultFile& file, const std::string& subject) {
  for (const char* const prefix : {"fiber_ns_", "fiber_2_threads_ns_"}) {
    file.expect(subject, "4KiB 16KiB 64KiB 100KiB 256KiB 1MiB", prefix);
  }
  file.expect(subject, "mix_ns");
}

/// The group first: what is measured of Strategy::automatic, too.
void expect_first_uses(ResultFile& file, const std::string& subject) {
  file.expect(subject,
              "call_fresh_ns call_ns call_kept_ns call_one_thread_ns call_two_threads_ns stack_ns "
              "allocator_fiber_ns thread_ns thread_pooled_ns");
}

void expect_after_calls(ResultFile& file, const std::string& subject) {
  file.expect(subject, "resident_bytes charged_bytes committed_bytes", "after_calls_");
}

void expect_first_peers(ResultFile& file) {
  expect_fibers_of_every_depth(file, "boost_pooled_fixedsize");
  file.expect("boost_pooled_fixedsize", "queue_ns");
  file.expect("boost_fixedsize", "switch_ns switch_kept_ns");
  file.expect("boost_protected_fixedsize", "stack_ns allocator_fiber_ns");
  file.expect("glibc_thread", "thread_ns thread_attached_ns plain_call_ns");
}

/// The group others.
constexpr const char* works_of_others = "fault_ns system_call_ns read_ns mapping_ns signal_ns";
constexpr const char* ratios_of_others =
    "fault_ratio system_call_ratio read_ratio mapping_ratio signal_ratio";

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
  if (strategy.pools() && strategy.event != GrowthEvent::none) {
    expect_fibers_of_every_depth(file, subject);
    expect_first_uses(file, subject);
    file.expect(subject, works_of_others, "others_");
    file.expect(subject, ratios_of_others, "others_");
    file.expect(subject,
                "mix_shallow_ns mix_fresh_ns mix_named_ns mix_resident_ratio "
                "shallow_resident_bytes after_deep_resident_bytes handoff_ns");
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
  expect_first_uses(file, "automatic");
  file.expect("automatic", "ensure_ns");
  expect_after_calls(file, "automatic");
  expect_after_calls(file, "pipe_helper");
  expect_first_peers(file);
  file.expect("glibc_thread", works_of_others, "others_");
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
