// check_promises FILE: whether the JSON of the group promises has every cell of every strategy and
// peer, and whether cells that hold by design say so. Prints what is missing or wrong.
#include "run/result_file.hpp"

#include <growstack/strategy.hpp>

#include <string>

namespace {

constexpr const char* promises =
    "growth_events regrows fork_on fork_beside sigsegv_blocked no_altstack unprivileged "
    "unprivileged_call least_kernel read_libc file_300k file_1m file_4m datagram_300k datagram_1m "
    "datagram_4m read_raw recv_raw futex_raw getrandom_raw pipe_kept "
    "unix_stream_kept unix_datagram_kept eventfd_kept signal_plain signal_onstack "
    "posix_spawn_deaths system_deaths popen_deaths abort_deaths overflow_detected "
    "overflow_reported neighbour_safe jump_detected probed_jump_detected vmas_each vmpte_each "
    "vmas_each_small vmpte_each_small made_under_data_limit data_reserved data_grown data_trimmed "
    "charged_reserved charged_grown charged_trimmed rss_trimmed free_of_stack_limit stays_trimmed";

void check(growstack::compare::ResultFile& file) {
  for (const growstack::StrategyDescription& strategy : growstack::strategies()) {
    const std::string name(strategy.name);
    const double guarded = strategy.guarded ? 1 : 0;
    file.expect(name, promises, "promise_");
    for (const char* const promise : {"promise_overflow_detected", "promise_overflow_reported",
                                      "promise_neighbour_safe", "promise_probed_jump_detected"}) {
      file.expect_value(name, promise, guarded);
    }
    file.expect_value(name, "promise_signal_onstack", 1);
    for (const char* const call :
         {"promise_file_300k", "promise_file_1m", "promise_datagram_300k", "promise_datagram_1m"}) {
      file.expect_value(name, call, 1);
    }
    // What no marker tells: a frame larger than the window of markers.
    const double tells = name == "guard_markers" ? 0 : 1;
    file.expect_value(name, "promise_file_4m", tells);
    file.expect_value(name, "promise_datagram_4m", tells);
    file.expect_value(name, "promise_free_of_stack_limit", name == "grows_down" ? 0 : 1);
  }
  for (const char* const peer : {"glibc_thread", "glibc_thread_setstack", "boost_fixedsize",
                                 "boost_protected_fixedsize", "boost_pooled_fixedsize"}) {
    file.expect(peer, promises, "promise_");
  }
  for (const char* const raw :
       {"promise_read_raw", "promise_recv_raw", "promise_futex_raw", "promise_getrandom_raw"}) {
    file.expect_value("demand_paging", raw, 1);
  }
  file.expect_value("glibc_thread", "promise_overflow_detected", 1);
  file.expect_value("boost_fixedsize", "promise_overflow_reported", 0);
}

}  // namespace

int main(int argc, char** argv) { return growstack::compare::check_result_file(argc, argv, check); }
