// What does one stack cost in memory, over the stages of its life?
#include "parts/descent.hpp"
#include "run/measurement.hpp"
#include "run/process_memory.hpp"
#include "subjects/any_stack.hpp"

#include <array>
#include <functional>
#include <semaphore>
#include <system_error>
#include <thread>

namespace growstack::compare {
namespace {

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t depth = 64 * 1024 * kibibyte;
constexpr std::size_t guard = 64 * kibibyte;

/// Left at the far end, for the frames that wait there.
constexpr std::size_t margin = 32 * kibibyte;

constexpr std::array stages{"created", "deep", "returned", "trimmed", "released"};

// ---- in the child -------------------------------------------------------------------------------

/// A thread that looks at the stack when it is asked to, while the thread that asks stands still.
/// It exists before the stack and has looked once: its own stack and heap, if they were mapped
/// later, could lie where grows_down grows.
class Watcher {
 public:
  explicit Watcher(std::function<void()> look)
      : look_(std::move(look)), thread_([this] { serve(); }) {
    ask();
  }
  ~Watcher() {
    ended_ = true;
    asked_.release();
    thread_.join();
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  void ask() {
    asked_.release();
    looked_.acquire();
  }

 private:
  void serve() {
    for (asked_.acquire(); !ended_; asked_.acquire()) {
      look_();
      looked_.release();
    }
  }

  std::function<void()> look_;
  std::binary_semaphore asked_{0};
  std::binary_semaphore looked_{0};
  bool ended_ = false;  // written before asked_ is released, read after it is acquired
  std::thread thread_;
};

/// What was seen of a stack, stage by stage.
class Inspection {
 public:
  /// Says which stack to look at. Before that there is nothing to see.
  void find(const AnyStack& stack) {
    begin_ = stack.floor() - stack.guard();
    end_ = stack.base();
  }
  [[nodiscard]] bool found() const { return end_ != 0; }

  void look(const char* stage) {
    watcher_.ask();
    seen_[stage] = {{"mapped", last_.mapped},
                    {"resident", last_.resident},
                    {"dirty", last_.dirty},
                    {"charged", last_.charged}};
  }
  [[nodiscard]] const nlohmann::json& seen() const { return seen_; }

 private:
  std::uintptr_t begin_ = 0;
  std::uintptr_t end_ = 0;
  Residency last_;
  nlohmann::json seen_;
  Watcher watcher_{[this] { last_ = residency(begin_, end_); }};
};

/// Takes the stack down and comes back. A thread's own stack exists only while the thread does, so
/// the first and the last look at it happen on it.
void go_down_and_back(AnyStack& stack, Inspection& inspection) {
  const bool there_already = inspection.found();
  stack.run([&] {
    if (!there_already) {
      inspection.find(stack);
      inspection.look("created");
    }
    bench::descend(stack.floor() + margin, [&] { inspection.look("deep"); });
    if (!there_already) {
      inspection.look("returned");
    }
  });
  if (there_already) {
    inspection.look("returned");
  }
}

/// Answers {"subject"} with {stage: {"mapped", "resident", "dirty", "charged"}}; without "trimmed"
/// if the subject cannot trim.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  raise_limits_for_stacks(depth + guard);
  Inspection inspection;
  auto stack = make_stack(request.at("subject"), {.reserve = depth, .guard = guard});
  if (stack->base() != 0) {
    inspection.find(*stack);
    inspection.look("created");
  }
  go_down_and_back(*stack, inspection);
  const std::error_code error = stack->trim();
  if (!error) {
    inspection.look("trimmed");
  } else if (error != std::errc::not_supported) {
    throw std::system_error(error, "trim");
  }
  stack.reset();
  inspection.look("released");
  return inspection.seen();
}

// ---- in the parent ------------------------------------------------------------------------------

struct Kind {
  const char* heading;
  const char* member;  // of what was seen at a stage
};

constexpr std::array kinds{Kind{"RSS: in physical memory", "resident"},
                           Kind{"charged: counts against the commit limit", "charged"},
                           Kind{"Kbytes: address space, guard included", "mapped"},
                           Kind{"Dirty: written to; where that is not the RSS", "dirty"}};

std::string path(const char* stage, const char* member) {
  return std::string(stage) + "/" + member;
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  constexpr std::array metrics{"stage_rss_", "stage_charged_", "stage_mapped_", "stage_dirty_"};
  std::vector<Row> rows;
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    for (const char* const stage : stages) {
      const auto bytes = its.number(path(stage, kinds[kind].member));
      rows.push_back({.metric = metrics[kind] + std::string(stage),
                      .value = bytes,
                      .unit = "bytes",
                      .note = bytes ? stack_limit_note(its.subject, depth + guard)
                                    : "it cannot give memory back while it exists"});
    }
  }
  return rows;
}

Cells cells_of(const Outcome& its, const char* member) {
  Cells cells;
  for (const char* const stage : stages) {
    cells.push_back(its.cell(path(stage, member), grouped, kibibyte));
  }
  return cells;
}

Table table(const Outcomes& all) {
  Table table({"KiB", "created", "deep", "returned", "trimmed", "released"});
  for (const Kind& kind : kinds) {
    add_lines(table, all, kind.heading, [&](const Outcome& its) {
      const bool is_repeated = std::string(kind.member) == "dirty" &&
                               cells_of(its, "dirty") == cells_of(its, "resident");
      return is_repeated ? Cells() : cells_of(its, kind.member);
    });
  }
  add_failures(table, all);
  return table;
}

std::vector<std::string> remarks(const Outcomes& all) { return {why_they_died(all)}; }

std::string what() {
  return fmt::format(
      "One stack of {}, with a guard of {} if it has one, is taken down to its end and back. The "
      "figures are what the kernel says about its mappings (/proc/self/smaps). A glibc_thread is "
      "seen before it uses its stack (created), before it ends (returned), and after join "
      "(released). -: it cannot give memory back while it exists.",
      in_units(depth), in_units(guard));
}

const Registered stages_of_life(
    {.name = "stages",
     .group = "stages",
     .title = "STAGES",
     .what = what,
     .subjects = [](const Session& session) { return session.stacks(); },
     .ask = ask_each,
     .measure = measure,
     .rows = rows,
     .table = table,
     .remarks = remarks,
     .request = [](const Session&, const Subject& subject) -> nlohmann::json {
       return {{"subject", subject.name}};
     }});

}  // namespace
}  // namespace growstack::compare
