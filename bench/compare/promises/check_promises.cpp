// check_promises FILE: whether the JSON of the group promises has every cell of every strategy and
// peer, and whether cells that hold by design say so. Prints what is missing or wrong.
#include "run/result_file.hpp"

#include <growstack/strategy.hpp>

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace {

constexpr const char* promises =
    "growth_events regrows fork_on fork_beside sigsegv_blocked no_altstack unprivileged "
    "unprivileged_call least_kernel "
    "read_libc read_raw recv_raw futex_raw getrandom_raw pipe_kept unix_stream_kept "
    "unix_datagram_kept eventfd_kept "
    "signal_plain signal_onstack posix_spawn_deaths system_deaths popen_deaths abort_deaths "
    "overflow_detected overflow_reported neighbour_safe jump_detected probed_jump_detected "
    "vmas_each vmpte_each vmas_each_small vmpte_each_small made_under_data_limit data_reserved "
    "data_grown data_trimmed charged_reserved charged_grown charged_trimmed rss_trimmed "
    "free_of_stack_limit stays_trimmed";

/// Returns whether the row has a value, or a reason why there is none.
bool is_row(const nlohmann::json& row) {
  for (const char* const text : {"subject", "metric", "unit", "note"}) {
    if (!row.is_object() || !row.contains(text) || !row[text].is_string()) {
      return false;
    }
  }
  return row.contains("value") &&
         (row["value"].is_number() || (row["value"].is_null() && row["note"] != ""));
}

class Check {
 public:
  explicit Check(const nlohmann::json& rows) {
    for (const nlohmann::json& row : rows) {
      if (!is_row(row)) {
        complain("not a row: " + row.dump());
      } else if (!cells_.emplace(std::pair(row["subject"], row["metric"]), row).second) {
        complain("twice: " + row.dump());
      }
    }
  }

  void has_every_cell_of(std::string_view subject) {
    std::istringstream names(promises);
    for (std::string promise; names >> promise;) {
      if (find(subject, promise) == nullptr) {
        complain("missing: " + promise + " of " + std::string(subject));
      }
    }
  }

  /// Checks the value, unless the promise could not be tried here.
  void is(std::string_view subject, std::string_view promise, double value) {
    const nlohmann::json* const row = find(subject, promise);
    if (row != nullptr && (*row)["value"].is_number() && (*row)["value"] != value) {
      complain("not " + std::to_string(value) + ": " + row->dump());
    }
  }

  [[nodiscard]] int exit_code() const { return wrong_ == 0 ? EXIT_SUCCESS : EXIT_FAILURE; }

 private:
  const nlohmann::json* find(std::string_view subject, std::string_view promise) const {
    const auto found = cells_.find({std::string(subject), "promise_" + std::string(promise)});
    return found == cells_.end() ? nullptr : &found->second;
  }

  void complain(const std::string& what) {
    std::printf("%s\n", what.c_str());
    ++wrong_;
  }

  std::map<std::pair<std::string, std::string>, nlohmann::json> cells_;
  int wrong_ = 0;
};

int check_all(const nlohmann::json& rows) {
  Check check(rows);
  for (const growstack::StrategyDescription& strategy : growstack::strategies()) {
    const double guarded = strategy.name == "heap" ? 0 : 1;
    check.has_every_cell_of(strategy.name);
    check.is(strategy.name, "overflow_detected", guarded);
    check.is(strategy.name, "overflow_reported", guarded);
    check.is(strategy.name, "neighbour_safe", guarded);
    check.is(strategy.name, "probed_jump_detected", guarded);
    check.is(strategy.name, "signal_onstack", 1);
    check.is(strategy.name, "free_of_stack_limit", strategy.name == "grows_down" ? 0 : 1);
  }
  for (const char* const peer : {"glibc_thread", "glibc_thread_setstack", "boost_fixedsize",
                                 "boost_protected_fixedsize", "boost_pooled_fixedsize"}) {
    check.has_every_cell_of(peer);
  }
  for (const char* const raw : {"read_raw", "recv_raw", "futex_raw", "getrandom_raw"}) {
    check.is("demand_paging", raw, 1);
  }
  check.is("glibc_thread", "overflow_detected", 1);
  check.is("boost_fixedsize", "overflow_reported", 0);
  return check.exit_code();
}

}  // namespace

int main(int argc, char** argv) {
  return growstack::compare::check_result_file("check_promises", argc, argv, check_all);
}
