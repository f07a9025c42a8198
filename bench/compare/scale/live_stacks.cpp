// The group scale: how many stacks can be there at once, what each costs, and which of them really
// have their guard.
#include "run/group.hpp"

#include "parts/memory.hpp"
#include "promises/worker.hpp"
#include "run/child.hpp"
#include "run/process_memory.hpp"
#include "scale/crowd.hpp"
#include "subjects/pool_subject.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace growstack::compare {
namespace {

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t mebibyte = 1024 * kibibyte;

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

/// Empty if there may be more.
std::string why_to_stop(const Patience& patience, std::size_t memory_before,
                        std::chrono::steady_clock::duration taken) {
  if (resident_with_tables() > memory_before + patience.memory) {
    return fmt::format("stopped at half of the memory available, {} MiB",
                       patience.memory / mebibyte);
  }
  return taken > patience.time ? fmt::format("stopped after {} s", patience.time.count()) : "";
}

Gathering gather(Crowd& crowd, const Patience& patience) {
  constexpr std::size_t look_every = 2048;
  Gathering gathered;
  const std::size_t memory_before = resident_with_tables();
  const auto begin = std::chrono::steady_clock::now();
  const auto taken = [&] { return std::chrono::steady_clock::now() - begin; };
  try {
    while (gathered.count < patience.stacks && gathered.why_no_more.empty()) {
      crowd.add();
      ++gathered.count;
      if (gathered.count % look_every == 0) {
        gathered.why_no_more = why_to_stop(patience, memory_before, taken());
      }
    }
  } catch (const std::exception& error) {
    gathered.why_no_more = error.what();
  }
  gathered.nanoseconds = std::chrono::duration<double, std::nano>(taken()).count() /
                         static_cast<double>(std::max<std::size_t>(1, gathered.count));
  return gathered;
}

/// Has the kernel read bytes: it tells of memory without access, and raises no signal.
class Reader {
 public:
  Reader() : file_(memfd_create("reader", MFD_CLOEXEC)) {
    if (file_ < 0) {
      throw std::system_error(errno, std::generic_category(), "memfd_create");
    }
  }
  ~Reader() { close(file_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  [[nodiscard]] bool can_read(std::uintptr_t address) const {
    if (pwrite(file_, reinterpret_cast<const void*>(address), 1, 0) == 1) {
      return true;
    }
    if (errno != EFAULT) {
      throw std::system_error(errno, std::generic_category(), "pwrite");
    }
    return false;
  }

 private:
  int file_;
};

std::size_t count_guards(const Crowd& crowd, std::size_t count) {
  const Reader reader;
  std::size_t guards = 0;
  for (std::size_t index = 0; index < count && crowd.is_guarded(); ++index) {
    guards += reader.can_read(crowd.floor(index) - 1) ? 0 : 1;
  }
  return guards;
}

/// Goes down to the last page above `floor`, frame by frame, and finds on the way back what it
/// wrote.
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

/// Some of them, drawn at random: all the way down.
bool grow_some(Crowd& crowd, std::size_t count) {
  constexpr std::size_t some = 1000;
  std::mt19937 random;  // the same ones every time
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

/// In a copy of this process, with all of its stacks.
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

}  // namespace

/// {"bytes"} to nothing.
nlohmann::json warm_for_stacks(const nlohmann::json& request, Progress& progress) {
  progress.say("scale: warming the memory");
  bench::warm_memory(request.at("bytes"));
  return nlohmann::json::object();
}

/// {"subject", "stacks", "reserve", "guard", "seconds", "thorough"} to {"count", "why_no_more",
/// "create_ns", "bytes_each", "mappings", "guards"}; a thorough one's has "grown_ok" and
/// "overflow_detected" as well.
nlohmann::json measure_live_stacks(const nlohmann::json& request, Progress& progress) {
  const std::string subject = request.at("subject");
  const std::size_t most = request.at("stacks");
  progress.say(fmt::format("scale: {} stacks, {}", grouped(std::uint64_t{most}), subject));
  raise_limits_for_stacks(request.at("reserve"));
  const auto crowd = make_crowd(
      subject, {.most = most, .reserve = request.at("reserve"), .guard = request.at("guard")});
  const std::size_t mappings_before = mapping_count();
  const std::size_t memory_before = resident_with_tables();
  const Gathering gathered =
      gather(*crowd, {.stacks = most,
                      .memory = allowed_memory(),
                      .time = std::chrono::seconds(request.at("seconds").get<int>())});
  if (gathered.count == 0) {
    throw std::runtime_error(gathered.why_no_more);
  }
  const auto memory =
      static_cast<double>(resident_with_tables()) - static_cast<double>(memory_before);
  nlohmann::json result{
      {"count", gathered.count},
      {"why_no_more", gathered.why_no_more},
      {"create_ns", gathered.nanoseconds},
      {"bytes_each", memory / static_cast<double>(gathered.count)},
      {"mappings", static_cast<double>(mapping_count()) - static_cast<double>(mappings_before)},
      {"guards", count_guards(*crowd, gathered.count)}};
  if (request.at("thorough")) {
    result["grown_ok"] = grow_some(*crowd, gathered.count) ? 1 : 0;
    result["overflow_detected"] = detects_overflow(*crowd, gathered.count) ? 1 : 0;
  }
  return result;
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

/// Stacks of one size.
struct Size {
  const char* suffix;  // of metrics
  std::size_t reserve;
  std::size_t guard;
};

const Size& small() {
  static const Size size{.suffix = "", .reserve = pooled_reserve, .guard = handler::page_size()};
  return size;
}

constexpr Size large{.suffix = "_8MiB", .reserve = 8 * mebibyte, .guard = 64 * kibibyte};

struct Found {
  Subject subject;
  const Size& size;
  std::size_t wanted;
  nlohmann::json result{};
  std::string failure{};

  [[nodiscard]] bool ok() const { return failure.empty(); }
  [[nodiscard]] bool is_thorough() const {
    return subject.strategy == many && size.reserve == small().reserve;
  }
  [[nodiscard]] double value(const char* member) const { return result.at(member).get<double>(); }
};

std::size_t wanted(const Session& session) { return session.stacks_at_once(1'000'000, 100'000); }

/// As much as most of them will have, for otherwise it would cost those that come first. It is no
/// matter if it fails.
void warm_memory(const Session& session) {
  const std::size_t bytes = wanted(session) * 2 * handler::page_size();
  static_cast<void>(ask_child("warm_for_stacks", {{"bytes", bytes}}, session.progress()));
}

Found ask(const Session& session, const Subject& subject, const Size& size) {
  constexpr std::size_t most_threads = 10'000;  // each has a stack of the kernel's, too
  const std::size_t most = subject.name == glibc_thread_name ? most_threads : SIZE_MAX;
  Found found{.subject = subject, .size = size, .wanted = std::min(most, wanted(session))};
  if (!subject.unsupported.empty()) {
    found.failure = subject.unsupported;
    return found;
  }
  const Answer answer = ask_child("live_stacks",
                                  {{"subject", subject.name},
                                   {"stacks", found.wanted},
                                   {"reserve", size.reserve},
                                   {"guard", size.guard},
                                   {"seconds", session.options().quick ? 10 : 60},
                                   {"thorough", found.is_thorough()}},
                                  session.progress());
  found.result = answer.result;
  found.failure = answer.whole_failure();
  return found;
}

struct Metric {
  const char* name;
  const char* member;
  const char* unit;
  const char* note;
};

std::vector<Metric> metrics_of(const Found& found) {
  std::vector<Metric> all{
      {"live_stacks", "count", "stacks", ""},
      {"guards", "guards", "stacks", "whose byte below the floor the kernel could not read"},
      {"create_ns", "create_ns", "ns", "to get one and enter it"},
      {"bytes_per_stack", "bytes_each", "bytes", "VmRSS and VmPTE"}};
  if (found.subject.strategy == many) {
    all.push_back({"vmas", "mappings", "mappings", "of all stacks together"});
  }
  if (found.is_thorough()) {
    all.push_back(
        {"scale_grown_ok", "grown_ok", "1/0", "1,000 of them, drawn at random, grown to the end"});
    all.push_back(
        {"overflow_detected", "overflow_detected", "1/0", "of one among all others, and reported"});
  }
  return all;
}

/// Why there are not as many as were wanted; without the name of who says so.
std::string why_no_more(const Found& found) {
  const std::string why = found.result.at("why_no_more");
  const std::string prefix = fmt::format("growstack: {}: ", found.subject.name);
  return why.starts_with(prefix) ? why.substr(prefix.size()) : why;
}

std::string shortfall(const Found& found) {
  const std::string why = why_no_more(found);
  return why.empty() ? "" : fmt::format("of {}: {}", grouped(std::uint64_t{found.wanted}), why);
}

std::string note_of(const Found& found, const Metric& metric) {
  const std::string why = shortfall(found);
  return metric.name == std::string_view("live_stacks") ? why
         : why.empty()                                  ? metric.note
                                                        : fmt::format("{}; {}", metric.note, why);
}

void add_rows(Session& session, const Found& found) {
  for (const Metric& metric : metrics_of(found)) {
    session.add({.subject = found.subject.name,
                 .metric = metric.name + std::string(found.size.suffix),
                 .value = found.ok() ? std::optional(found.value(metric.member)) : std::nullopt,
                 .unit = found.ok() ? metric.unit : "",
                 .note = found.ok() ? note_of(found, metric) : found.failure});
  }
}

Table table_of(const std::vector<Found>& all) {
  Table table({"", "stacks", "guarded", "KiB each", "ns each", "mappings"}, 1);
  const Size* size = nullptr;
  for (const Found& found : all) {
    if (size != &found.size) {
      size = &found.size;
      table.add_heading(
          fmt::format("{} and a guard of {}", in_units(size->reserve), in_units(size->guard)));
    }
    if (found.ok()) {
      table.add(
          {"  " + found.subject.name, grouped(found.value("count")), grouped(found.value("guards")),
           fmt::format("{:.2f}", found.value("bytes_each") / kibibyte),
           grouped(found.value("create_ns")), grouped(std::max(0.0, found.value("mappings")))});
    } else {
      table.add_sentence({"  " + found.subject.name}, found.failure);
    }
  }
  return table;
}

/// Of those that promise guards.
std::string sentence_about_guards(const Found& found) {
  const bool promises_some =
      found.subject.name != boost_fixedsize_name && found.subject.name != boost_pooled_name;
  const double lost = found.value("count") - found.value("guards");
  return promises_some && lost > 0
             ? fmt::format("{} said nothing when {} of its {} stacks got no guard.",
                           found.subject.name, grouped(lost), grouped(found.value("count")))
             : "";
}

std::string sentence_about_cost(const Found& found) {
  return found.subject.strategy == many
             ? fmt::format("{} stacks of {} of {} take {} mappings together and {:.2f} KiB each.",
                           grouped(found.value("count")), in_units(found.size.reserve),
                           found.subject.name, grouped(std::max(0.0, found.value("mappings"))),
                           found.value("bytes_each") / kibibyte)
             : "";
}

std::string sentence_about_use(const Found& found) {
  if (!found.is_thorough()) {
    return {};
  }
  return fmt::format(
      "Of {}, stacks drawn at random {} to their ends with all others there, and an overflow of "
      "one {}.",
      found.subject.name, found.value("grown_ok") == 1 ? "grew" : "did NOT grow",
      found.value("overflow_detected") == 1 ? "was reported" : "was NOT reported");
}

/// One for each reason: who ended of it.
std::vector<std::string> sentences_about_ends(const std::vector<Found>& all) {
  std::map<std::string, std::vector<std::string>> ended_of;
  for (const Found& found : all) {
    if (found.ok() && !why_no_more(found).empty()) {
      ended_of[why_no_more(found)].push_back(
          fmt::format("{} after {}", found.subject.name, grouped(found.value("count"))));
    }
  }
  std::vector<std::string> sentences;
  for (const auto& [why, who] : ended_of) {
    sentences.push_back(fmt::format("What ended {}: {}.", listed(who), why));
  }
  return sentences;
}

std::vector<std::string> what_to_see(const std::vector<Found>& all) {
  std::vector<std::string> sentences = sentences_about_ends(all);
  for (const Found& found : all) {
    if (found.ok()) {
      sentences.push_back(sentence_about_guards(found));
      sentences.push_back(sentence_about_cost(found));
      sentences.push_back(sentence_about_use(found));
    }
  }
  return sentences;
}

}  // namespace

void compare_live_stacks(Session& session) {
  const std::vector<Subject> subjects = pooled_and_peers(session);
  if (subjects.empty()) {
    return;
  }
  warm_memory(session);
  std::vector<Found> all;
  for (const Subject& subject : subjects) {
    all.push_back(ask(session, subject, small()));
  }
  for (const Subject& subject :
       session.strategies([](Strategy strategy) { return strategy == many; })) {
    all.push_back(ask(session, subject, large));
  }
  for (const Found& found : all) {
    add_rows(session, found);
  }
  session.print_title(
      "MANY STACKS",
      "Stacks that are all there at once, each entered, 256 bytes of it written to, and left "
      "waiting: as "
      "many as can be had, at most as many as asked for, within half of the memory available. "
      "Guarded: the "
      "kernel could not read the byte below the floor, asked for each. KiB each: what the process "
      "has "
      "more in memory and in page tables; of threads without what the kernel has for them.");
  session.print(table_of(all));
  session.print_sentences(what_to_see(all));
}

}  // namespace growstack::compare
