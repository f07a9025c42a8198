#include "proofs/soak/counts.hpp"

#include <growstack/handler/handler.hpp>

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <string>
#include <string_view>

namespace growstack::soak {
namespace {

/// Forked children share it. So what they verify counts, and so does a word that they lose.
Counts& shared_counts() {
  void* const memory =
      mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  return *new (memory) Counts;
}

/// Only then must each part have done something.
constexpr unsigned long_enough = 30;  // seconds

/// Even a slow machine under ThreadSanitizer does so many in that time.
constexpr std::uint64_t some = 1;
constexpr std::uint64_t many = 200;
constexpr std::uint64_t many_bytes = 100'000'000;

}  // namespace

Counts& counts = shared_counts();

std::vector<Row> table(const Settings& settings) {
  const handler::Counters growth = handler::counters();
  const Counts& now = counts;
  std::vector<Row> rows;
  const auto add = [&](const char* name, std::uint64_t count, std::uint64_t least,
                       std::string_view part = "") {
    rows.push_back({name, count, least, !settings.with(part)});
  };
  add("growth faults", growth.growth, many);
  add("growth faults served by the helper", growth.by_helper, some);
  add("growth faults left by the helper", growth.helper_missing, some, "helper");
  add("growth faults where another was faster", growth.spurious, 0);
  add("bytes verified", now.bytes_verified, many_bytes);
  add("activities", now.operations, many);
  for (const StrategyDescription& each : strategies()) {
    const auto& asked = settings.strategies;
    const bool tried = std::find(asked.begin(), asked.end(), each.strategy) != asked.end();
    rows.push_back({"calls on " + std::string(each.name),
                    now.calls[static_cast<std::size_t>(each.strategy)], some,
                    !tried || !settings.with("stacks")});
  }
  add("calls with options", now.calls_with_options, some, "calls");
  add("recursions", now.recursions, some, "recursion");
  add("switches of fibers", now.switches, some, "fibers");
  add("threads", now.threads, some);
  add("attachments", now.attachments, some, "attach");
  add("pools", now.pools, some, "pools");
  add("trims", now.trims, some, "trims");
  add("looks at statistics", now.looks, some, "statistics");
  add("touches from elsewhere", now.touches, some, "touches");
  add("mappings", now.mappings, some, "mappings");
  add("regions", now.regions, some, "regions");
  add("refusals", now.refusals, some, "refusals");
  add("signals with SA_ONSTACK sent", now.sent_on, many, "signals");
  add("signals with SA_ONSTACK received", now.received_on, many, "signals");
  add("signals without it sent", now.sent_off, many, "signals");
  add("signals without it received", now.received_off, many, "signals");
  add("signals without it reported as lost", now.reported_lost, 0, "signals");
  add("signals of timers sent", now.timers_sent, some, "timers");
  add("signals of timers received", now.timers_received, some, "timers");
  add("forks", now.forks, some, "forks");
  add("vforks", now.vforks, some, "vforks");
  add("overflows reported by children", now.overflows, some, "overflows");
  add("service threads stopped", now.helper_stops, some, "helper");
  add("helpers ended", now.helper_kills, some, "helper");
  add("descriptors closed", now.descriptors_closed, some, "descriptors");
  add("descriptors reopened by the program", now.descriptors_reopened, some, "descriptors");
  add("pipes closed in use", now.pipes_closed, some, "descriptors");
  add("handlers swapped", now.handlers_swapped, some, "handlers");
  add("handler uninstalled", now.uninstalls, some);
  add("looks of the watchdog", now.watchdog_looks, some);
  add("seconds of the longest quiet", now.longest_quiet, 0);
  add("words lost", now.words_lost, 0);
  add("signals lost without a report", now.signals_lost, 0);
  add("hangs", now.hangs, 0);
  return rows;
}

std::string missing(const Settings& settings) {
  std::string lines;
  if (settings.seconds < long_enough || settings.is_chosen) {
    return lines;
  }
  for (const Row& row : table(settings)) {
    if (!row.left_out && row.count < row.least) {
      lines += fmt::format("too few: {}: {}, and at least {} are needed\n", row.name, row.count,
                           row.least);
    }
  }
  return lines;
}

std::string last_line(const Settings& settings) {
  const Counts& now = counts;
  const auto value = [](const Count& count) { return count.load(); };
  const auto in_gigabytes = static_cast<double>(value(now.bytes_verified)) / 1e9;
  return fmt::format(
      "{} s, seed {}: {} growth faults, {:.1f} GB verified, {} signals sent, {} received, {} "
      "reported lost, {} forks, {} vforks; {} words lost, {} signals lost, {} hangs",
      settings.seconds, settings.seed, handler::counters().growth, in_gigabytes,
      now.sent_on + now.sent_off + now.timers_sent,
      now.received_on + now.received_off + now.timers_received, value(now.reported_lost),
      value(now.forks), value(now.vforks), value(now.words_lost), value(now.signals_lost),
      value(now.hangs));
}

}  // namespace growstack::soak
