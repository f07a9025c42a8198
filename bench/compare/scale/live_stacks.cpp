// How many stacks can exist at once, what does each cost, and which of them really have their
// guard?
#include "parts/clock.hpp"
#include "parts/errors.hpp"
#include "parts/memory.hpp"
#include "promises/worker.hpp"
#include "run/measurement.hpp"
#include "run/process_memory.hpp"
#include "scale/crowd.hpp"
#include "subjects/pools.hpp"

#include <growstack/handler/pages.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <random>
#include <stdexcept>

namespace growstack::compare {
namespace {

constexpr std::size_t large_reserve = 8 * mebibyte;
constexpr std::size_t large_guard = 64 * kibibyte;

// ---- in the child -------------------------------------------------------------------------------

using Crowd = std::vector<Member>;

double memory_now() { return static_cast<double>(resident_with_tables()); }

/// Fills the crowd, unless the process gets more than so much memory, it takes more than so much
/// time, or a stack cannot be made: then the crowd ends there. Returns why; empty if it is full.
std::string fill(Crowd& crowd, const std::function<Member()>& make, double most_memory,
                 std::chrono::seconds time) {
  constexpr std::size_t look_every = 2048;
  const auto begin = bench::Clock::now();
  std::string why_no_more;
  std::size_t count = 0;
  try {
    while (count < crowd.size() && why_no_more.empty()) {
      crowd[count] = make();
      ++count;
      if (count % look_every == 0 && memory_now() > most_memory) {
        why_no_more = "stopped at half of the memory available";
      } else if (count % look_every == 0 && bench::Clock::now() - begin > time) {
        why_no_more = fmt::format("stopped after {} s", time.count());
      }
    }
  } catch (const std::exception& error) {
    why_no_more = error.what();
  }
  crowd.resize(count);
  return why_no_more;
}

/// Counts the stacks whose byte below the floor the kernel cannot read. The kernel says so, and
/// raises no signal.
std::size_t count_guards(const Crowd& crowd) {
  const Scratch file("guards");
  std::size_t guards = 0;
  for (const Member& member : crowd) {
    const auto* const below = reinterpret_cast<const void*>(member.floor - 1);
    const bool is_readable = pwrite(file.descriptor(), below, 1, 0) == 1;
    bench::require(is_readable || errno == EFAULT, "pwrite");
    guards += is_readable ? 0 : 1;
  }
  return guards;
}

/// Goes down to the last page above `floor`, frame by frame. Returns whether it finds on the way
/// back what it wrote.
[[gnu::noinline]] bool keeps_what_is_written(std::uintptr_t floor, unsigned char pattern) {
  constexpr std::size_t last_frames = 2 * kibibyte;
  std::array<volatile unsigned char, 512> room;
  std::fill(room.begin(), room.end(), pattern);
  const bool is_last = reinterpret_cast<std::uintptr_t>(room.data()) < floor + last_frames;
  const bool deeper_ones_did =
      is_last || keeps_what_is_written(floor, static_cast<unsigned char>(pattern + 1));
  return deeper_ones_did &&
         std::all_of(room.begin(), room.end(),
                     [&](volatile unsigned char& each) { return each == pattern; });
}

/// Takes 1,000 of them, drawn at random, all the way down.
bool grow_some(Crowd& crowd) {
  constexpr std::size_t some = 1000;
  std::mt19937 random;  // the same ones in every run
  std::uniform_int_distribution<std::size_t> any(0, crowd.size() - 1);
  bool good = true;
  for (std::size_t each = 0; each < std::min(some, crowd.size()); ++each) {
    Member& member = crowd[any(random)];
    const auto pattern = static_cast<unsigned char>(each);
    member.code.run([&] { good = keeps_what_is_written(member.floor, pattern) && good; });
  }
  return good;
}

/// Lets one overflow in a copy of this process, with all of its stacks.
bool detects_overflow(Crowd& crowd) {
  constexpr std::uintptr_t no_floor = 0;
  const promises::Fate fate = promises::in_worker(
      [&] {
        crowd[crowd.size() / 2].code.run([] { keeps_what_is_written(no_floor, 0); });
        return nlohmann::json();
      },
      std::chrono::minutes(2));
  return fate.killer == "SIGSEGV" &&
         fate.errors.find("growstack: stack overflow") != std::string::npos;
}

/// Answers {"subject", "stacks", "reserve", "guard", "seconds", "thorough"} with {"count",
/// "why_no_more", "create_ns", "bytes_each", "mappings", "guards"}; if thorough, also with
/// "grown_ok" and "overflow_detected". Answers {"warm": bytes} with nothing.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  if (request.contains("warm")) {
    progress.say("scale: warming the memory");
    bench::warm_memory(request.at("warm"));
    return nlohmann::json::object();
  }
  const std::string subject = request.at("subject");
  const std::size_t most = request.at("stacks");
  progress.say(fmt::format("scale: {} stacks, {}", grouped(std::uint64_t{most}), subject));
  raise_limits_for_stacks(request.at("reserve"));
  const auto make = member_maker(subject, most, request.at("reserve"), request.at("guard"));
  Crowd crowd(most);  // resident from the start, so that it is not counted as memory of the stacks
  const auto mappings_before = static_cast<double>(mapping_count());
  const double memory_before = memory_now();
  const double most_memory = memory_before + static_cast<double>(allowed_memory());
  const std::chrono::seconds time(request.at("seconds"));
  const auto begin = bench::Clock::now();
  const std::string why_no_more = fill(crowd, make, most_memory, time);
  const double nanoseconds = bench::nanoseconds_since(begin);
  if (crowd.empty()) {
    throw std::runtime_error(why_no_more);
  }
  const auto count = static_cast<double>(crowd.size());
  const double memory = memory_now() - memory_before;
  nlohmann::json result{
      {"count", count},
      {"why_no_more", without_name(why_no_more, subject)},
      {"create_ns", nanoseconds / count},
      {"bytes_each", memory / count},
      {"mappings", std::max(0.0, static_cast<double>(mapping_count()) - mappings_before)},
      {"guards", promises_guards(subject) ? count_guards(crowd) : 0}};
  if (request.at("thorough")) {
    result["grown_ok"] = grow_some(crowd) ? 1 : 0;
    result["overflow_detected"] = detects_overflow(crowd) ? 1 : 0;
  }
  return result;
}

// ---- in the parent ------------------------------------------------------------------------------

std::size_t wanted(const Session& session) { return session.stacks_at_once(1'000'000, 100'000); }

/// Asks about every subject with small stacks, and about those for very many with large ones,
/// too.
Outcomes ask(const Measurement& self, const Session& session,
             const std::vector<Subject>& subjects) {
  constexpr std::size_t most_threads = 10'000;  // each also has a stack of the kernel's
  Outcomes all;
  const auto ask_for = [&](const Subject& subject, std::size_t reserve, std::size_t guard) {
    const bool is_thread = subject.name == glibc_thread_name;
    Outcome& outcome = all.emplace_back(ask_one(
        self.name, session, subject,
        {{"subject", subject.name},
         {"stacks", is_thread ? std::min(most_threads, wanted(session)) : wanted(session)},
         {"reserve", reserve},
         {"guard", guard},
         {"seconds", session.options().quick ? 10 : 60},
         {"thorough", is_strategy(subject.name, is_for_many) && reserve == pooled_reserve}}));
    outcome.section = fmt::format("{} and a guard of {}", in_units(reserve), in_units(guard));
  };
  // As much memory as most of them will have. Otherwise it would cost those that come first. It
  // does not matter if this fails.
  const std::size_t bytes = wanted(session) * 2 * handler::page_size();
  static_cast<void>(ask_child(self.name, {{"warm", bytes}}, session.progress()));
  for (const Subject& subject : subjects) {
    ask_for(subject, pooled_reserve, handler::page_size());
  }
  for (const Subject& subject : those_for_many(session)) {
    ask_for(subject, large_reserve, large_guard);
  }
  return all;
}

bool is_large(const Outcome& its) { return its.request.at("reserve") == large_reserve; }

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const std::uint64_t wanted = its.request.at("stacks");
  const std::string why = its.text("why_no_more");
  const std::string shortfall = why.empty() ? "" : fmt::format("; of {}: {}", grouped(wanted), why);
  std::vector<Row> rows;
  const auto add = [&](const std::string& metric, const char* member, const char* unit,
                       const std::string& note) {
    rows.push_back(
        its.row(metric + (is_large(its) ? "_8MiB" : ""), member, unit, note + shortfall));
  };
  add("live_stacks", "count", "stacks", "at once");
  add("guards", "guards", "stacks", "whose byte below the floor the kernel could not read");
  add("create_ns", "create_ns", "ns", "to get one and enter it");
  add("bytes_per_stack", "bytes_each", "bytes", "VmRSS and VmPTE");
  if (is_strategy(its.name, is_for_many)) {
    add("vmas", "mappings", "mappings", "of all stacks together");
  }
  if (its.request.at("thorough")) {
    add("scale_grown_ok", "grown_ok", "1/0", "1,000 of them, drawn at random, grown to the end");
    add("overflow_detected", "overflow_detected", "1/0", "of one among all others, and reported");
  }
  return rows;
}

constexpr std::array columns{Column{"stacks", "count", grouped},
                             Column{"guarded", "guards", grouped},
                             Column{"KiB each", "bytes_each", decimals<2>, kibibyte},
                             Column{"ns each", "create_ns", grouped},
                             Column{"mappings", "mappings", grouped},
                             Column{"some grow", "grown_ok", yes_or_no},
                             Column{"one overflows, reported", "overflow_detected", yes_or_no}};

std::vector<std::string> remarks(const Outcomes& all) {
  std::vector<std::string> sentences;
  std::map<std::string, std::vector<std::string>> ended_because_of;
  for (const Outcome& its : all) {
    const double count = its.number("count").value_or(0);
    const double lost = count - its.number("guards").value_or(0);
    if (const std::string why = its.text("why_no_more"); !why.empty()) {
      ended_because_of[why].push_back(fmt::format("{} ({})", its.name, grouped(count)));
    }
    if (promises_guards(its.name) && lost > 0) {
      sentences.push_back(fmt::format("{} silently left {} of its {} stacks without a guard.",
                                      its.name, grouped(lost), grouped(count)));
    }
  }
  for (const auto& [why, who] : ended_because_of) {
    sentences.push_back(
        fmt::format("Fewer stacks than asked for: {}. Reason: {}.", listed(who), why));
  }
  return sentences;
}

std::vector<Aim> aims() {
  return {
      {"bytes for a stack of 64 KiB", value_of("bytes_per_stack"), for_markers(4.3 * kibibyte)},
      {"bytes for a stack of 8 MiB", value_of("bytes_per_stack_8MiB"), for_markers(8.4 * kibibyte)},
      {"mappings of all stacks of 64 KiB", value_of("vmas"), for_markers(8)},
      {"mappings of all stacks of 8 MiB", value_of("vmas_8MiB"), for_markers(8)}};
}

const Registered registered(
    {.name = "live_stacks",
     .group = "scale",
     .title = "MANY STACKS",
     .what =
         "Stacks that exist at once. Each was entered, 256 bytes of it were written, and it waits. "
         "There are as many as asked for, unless a limit or half of the memory available ends them "
         "earlier. guarded: the kernel could not read the byte below the floor of so many; all "
         "were tried. KiB each: what the process has more in memory and in page tables, without "
         "what the kernel has for a thread.",
     .subjects = pooled_and_peers,
     .ask = ask,
     .measure = measure,
     .rows = rows,
     .columns = columns,
     .remarks = remarks,
     .aims = aims});

}  // namespace
}  // namespace growstack::compare
