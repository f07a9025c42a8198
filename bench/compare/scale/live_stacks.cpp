// How many stacks can exist at once, what does each cost, and which of them really have their
// guard?
#include "parts/clock.hpp"
#include "parts/errors.hpp"
#include "parts/memory.hpp"
#include "promises_worker.hpp"
#include "run/measurement.hpp"
#include "run/process_memory.hpp"
#include "scale/crowd.hpp"
#include "subjects/pools.hpp"

#include <growstack/handler/pages.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <random>
#include <stdexcept>

namespace growstack::compare {
namespace {

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t mebibyte = 1024 * kibibyte;
constexpr std::size_t large_reserve = 8 * mebibyte;
constexpr std::size_t large_guard = 64 * kibibyte;

// ---- in the child -------------------------------------------------------------------------------

/// How far it comes, and what stops it.
struct Gathering {
  std::size_t count = 0;
  double nanoseconds = 0;  // each
  std::string why_no_more{};
};

struct Patience {
  std::size_t stacks;
  std::size_t memory;  // bytes
  std::chrono::seconds time;
};

Gathering gather(Crowd& crowd, const Patience& patience) {
  constexpr std::size_t look_every = 2048;
  Gathering gathered;
  const std::size_t memory_before = resident_with_tables();
  const auto begin = bench::Clock::now();
  try {
    while (gathered.count < patience.stacks && gathered.why_no_more.empty()) {
      crowd.add();
      ++gathered.count;
      if (gathered.count % look_every != 0) {
        continue;
      }
      if (resident_with_tables() > memory_before + patience.memory) {
        gathered.why_no_more = fmt::format("stopped at half of the memory available, {} MiB",
                                           patience.memory / mebibyte);
      } else if (bench::Clock::now() - begin > patience.time) {
        gathered.why_no_more = fmt::format("stopped after {} s", patience.time.count());
      }
    }
  } catch (const std::exception& error) {
    gathered.why_no_more = error.what();
  }
  gathered.nanoseconds = bench::nanoseconds_since(begin) /
                         static_cast<double>(std::max<std::size_t>(1, gathered.count));
  return gathered;
}

/// Lets the kernel read bytes. It says when there is memory without access, and raises no signal.
class Reader {
 public:
  Reader() : file_(memfd_create("reader", MFD_CLOEXEC)) {
    bench::require(file_ >= 0, "memfd_create");
  }
  ~Reader() { close(file_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  [[nodiscard]] bool can_read(std::uintptr_t address) const {
    const bool written = pwrite(file_, reinterpret_cast<const void*>(address), 1, 0) == 1;
    bench::require(written || errno == EFAULT, "pwrite");
    return written;
  }

 private:
  int file_;
};

std::size_t count_guards(const Crowd& crowd, std::size_t count) {
  const Reader reader;
  std::size_t guards = 0;
  for (std::size_t index = 0; index < count; ++index) {
    guards += reader.can_read(crowd.floor(index) - 1) ? 0 : 1;
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
bool grow_some(Crowd& crowd, std::size_t count) {
  constexpr std::size_t some = 1000;
  std::mt19937 random;  // the same ones in every run
  std::uniform_int_distribution<std::size_t> any(0, count - 1);
  bool good = true;
  for (std::size_t each = 0; each < std::min(some, count); ++each) {
    const std::size_t index = any(random);
    crowd.run(index, [&] {
      good = keeps_what_is_written(crowd.floor(index), static_cast<unsigned char>(index)) && good;
    });
  }
  return good;
}

/// Lets one overflow in a copy of this process, with all of its stacks.
bool detects_overflow(Crowd& crowd, std::size_t count) {
  constexpr std::uintptr_t no_floor = 0;
  const promises::Fate fate = promises::in_worker(
      [&] {
        crowd.run(count / 2, [] { keeps_what_is_written(no_floor, 0); });
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
  const auto crowd = make_crowd(
      subject, {.most = most, .reserve = request.at("reserve"), .guard = request.at("guard")});
  const auto mappings_before = static_cast<double>(mapping_count());
  const auto memory_before = static_cast<double>(resident_with_tables());
  const Gathering gathered =
      gather(*crowd, {.stacks = most,
                      .memory = allowed_memory(),
                      .time = std::chrono::seconds(request.at("seconds").get<int>())});
  if (gathered.count == 0) {
    throw std::runtime_error(gathered.why_no_more);
  }
  const double memory = static_cast<double>(resident_with_tables()) - memory_before;
  nlohmann::json result{
      {"count", gathered.count},
      {"why_no_more", gathered.why_no_more},
      {"create_ns", gathered.nanoseconds},
      {"bytes_each", memory / static_cast<double>(gathered.count)},
      {"mappings", static_cast<double>(mapping_count()) - mappings_before},
      {"guards", promises_guards(subject) ? count_guards(*crowd, gathered.count) : 0}};
  if (request.at("thorough")) {
    result["grown_ok"] = grow_some(*crowd, gathered.count) ? 1 : 0;
    result["overflow_detected"] = detects_overflow(*crowd, gathered.count) ? 1 : 0;
  }
  return result;
}

// ---- in the parent ------------------------------------------------------------------------------

std::size_t wanted(const Session& session) { return session.stacks_at_once(1'000'000, 100'000); }

/// Asks about every subject with small stacks, and about the one for very many with large ones,
/// too.
Outcomes ask(const Measurement& self, const Session& session,
             const std::vector<Subject>& subjects) {
  constexpr std::size_t most_threads = 10'000;  // each also has a stack of the kernel's
  Outcomes all;
  const auto ask_for = [&](const Subject& subject, std::size_t reserve, std::size_t guard) {
    const bool is_thread = subject.name == glibc_thread_name;
    all.push_back(
        ask_one(self.name, session, subject,
                {{"subject", subject.name},
                 {"stacks", is_thread ? std::min(most_threads, wanted(session)) : wanted(session)},
                 {"reserve", reserve},
                 {"guard", guard},
                 {"seconds", session.options().quick ? 10 : 60},
                 {"thorough", subject.strategy == many && reserve == pooled_reserve}}));
  };
  // As much memory as most of them will have. Otherwise it would cost those that come first. It
  // does not matter if this fails.
  const std::size_t bytes = wanted(session) * 2 * handler::page_size();
  static_cast<void>(ask_child(self.name, {{"warm", bytes}}, session.progress()));
  for (const Subject& subject : subjects) {
    ask_for(subject, pooled_reserve, handler::page_size());
  }
  for (const Subject& subject : the_one_for_many(session)) {
    ask_for(subject, large_reserve, large_guard);
  }
  return all;
}

bool is_large(const Outcome& its) { return its.request.at("reserve") == large_reserve; }

/// Returns why there are not as many as were wanted; without the name of who says so.
std::string why_no_more(const Outcome& its) {
  const std::string why = its.text("why_no_more");
  const std::string prefix = fmt::format("growstack: {}: ", its.name);
  return why.starts_with(prefix) ? why.substr(prefix.size()) : why;
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const std::string why = why_no_more(its);
  const std::string shortfall =
      why.empty()
          ? ""
          : fmt::format("of {}: {}", grouped(its.request.at("stacks").get<std::uint64_t>()), why);
  std::vector<Row> rows;
  const auto add = [&](const std::string& metric, const char* member, const char* unit,
                       const std::string& note) {
    const char* const separator = note.empty() || shortfall.empty() ? "" : "; ";
    rows.push_back({.metric = metric + (is_large(its) ? "_8MiB" : ""),
                    .value = its.number(member),
                    .unit = unit,
                    .note = note + separator + shortfall});
  };
  add("live_stacks", "count", "stacks", "");
  add("guards", "guards", "stacks", "whose byte below the floor the kernel could not read");
  add("create_ns", "create_ns", "ns", "to get one and enter it");
  add("bytes_per_stack", "bytes_each", "bytes", "VmRSS and VmPTE");
  if (its.subject.strategy == many) {
    add("vmas", "mappings", "mappings", "of all stacks together");
  }
  if (its.request.at("thorough")) {
    add("scale_grown_ok", "grown_ok", "1/0", "1,000 of them, drawn at random, grown to the end");
    add("overflow_detected", "overflow_detected", "1/0", "of one among all others, and reported");
  }
  return rows;
}

Table table(const Outcomes& all) {
  Table table({"", "stacks", "guarded", "KiB each", "ns each", "mappings"});
  const auto add_section = [&](bool large, std::size_t reserve, std::size_t guard) {
    add_lines(table, all, fmt::format("{} and a guard of {}", in_units(reserve), in_units(guard)),
              [&](const Outcome& its) -> Cells {
                if (is_large(its) != large) {
                  return {};
                }
                return {its.cell("count", grouped), its.cell("guards", grouped),
                        its.cell("bytes_each", decimals<2>, kibibyte),
                        its.cell("create_ns", grouped),
                        grouped(std::max(0.0, its.number("mappings").value_or(0)))};
              });
  };
  add_section(false, pooled_reserve, handler::page_size());
  add_section(true, large_reserve, large_guard);
  add_failures(table, all);
  return table;
}

std::vector<std::string> remarks(const Outcomes& all) {
  std::vector<std::string> sentences;
  std::map<std::string, std::vector<std::string>> ended_because_of;
  for (const Outcome& its : all) {
    const double count = its.number("count").value_or(0);
    const double lost = count - its.number("guards").value_or(0);
    if (!why_no_more(its).empty()) {
      ended_because_of[why_no_more(its)].push_back(
          fmt::format("{} ({})", its.name, grouped(count)));
    }
    if (promises_guards(its.name) && lost > 0) {
      sentences.push_back(fmt::format("{} silently left {} of its {} stacks without a guard.",
                                      its.name, grouped(lost), grouped(count)));
    }
    if (const auto grown = its.number("grown_ok")) {
      sentences.push_back(fmt::format(
          "{}: with all stacks there, 1,000 drawn at random {} to their ends, and an overflow of "
          "one {}.",
          its.name, *grown == 1 ? "grew" : "did NOT grow",
          its.number("overflow_detected") == 1.0 ? "was reported" : "was NOT reported"));
    }
  }
  for (const auto& [why, who] : ended_because_of) {
    sentences.push_back(
        fmt::format("Fewer stacks than asked for: {}. Reason: {}.", listed(who), why));
  }
  return sentences;
}

std::string what() {
  return "Stacks that exist at once. Each was entered, 256 bytes of it were written, and it waits. "
         "There are as many as asked for, unless a limit or half of the memory available ends them "
         "earlier. guarded: the kernel could not read the byte below the floor of so many; all "
         "were tried. KiB each: what the process has more in memory and in page tables, without "
         "what the kernel has for a thread.";
}

std::vector<Aim> aims() {
  const auto for_markers = [](const char* title, Reading figure, double most) -> Aim {
    return {.title = title, .figure = std::move(figure), .markers = most};
  };
  const auto in_kibibytes = [](const char* metric) -> Reading {
    return [metric](const Rows& rows, const std::string& subject) {
      const auto bytes = rows.value(subject, metric);
      return bytes ? std::optional(*bytes / kibibyte) : std::nullopt;
    };
  };
  return {for_markers("KiB for a stack of 64 KiB", in_kibibytes("bytes_per_stack"), 4.3),
          for_markers("KiB for a stack of 8 MiB", in_kibibytes("bytes_per_stack_8MiB"), 8.4),
          for_markers("mappings of all stacks of 64 KiB", value_of("vmas"), 8),
          for_markers("mappings of all stacks of 8 MiB", value_of("vmas_8MiB"), 8)};
}

const Registered live_stacks({.name = "live_stacks",
                              .group = "scale",
                              .title = "MANY STACKS",
                              .what = what,
                              .subjects = pooled_and_peers,
                              .ask = ask,
                              .measure = measure,
                              .rows = rows,
                              .table = table,
                              .remarks = remarks,
                              .aims = aims});

}  // namespace
}  // namespace growstack::compare
