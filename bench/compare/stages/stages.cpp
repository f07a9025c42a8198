// Stages: what one stack costs in memory over its life.
#include "run/group.hpp"

#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "run/child.hpp"
#include "run/residency.hpp"
#include "subjects/any_stack.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <semaphore>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace growstack::compare {
namespace {

constexpr std::size_t depth = std::size_t{64} * 1024 * 1024;
constexpr std::size_t guard = std::size_t{64} * 1024;

/// Left at the far end, for the frames that wait there.
constexpr std::size_t margin = std::size_t{32} * 1024;

constexpr std::array stages{"created", "deep", "returned", "trimmed", "released"};

// ---- in the child -------------------------------------------------------------------------------

nlohmann::json snapshot(std::uintptr_t begin, std::uintptr_t end) {
  const Residency now = residency(begin, end);
  return {{"mapped", now.mapped},
          {"resident", now.resident},
          {"dirty", now.dirty},
          {"charged", now.charged}};
}

/// A thread that looks when it is asked to, while the one that asks stands still. It is there
/// before the stack and has looked once: a thread's own stack and heap, mapped later, may end up in
/// the room that grows_down grows into.
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
  bool ended_ = false;  // written before asked_, read after it
  std::thread thread_;
};

/// What is there, stage by stage.
class Inspection {
 public:
  /// From now on, the stack is [floor - guard, base). Until then nothing is looked at.
  void find(const AnyStack& stack) {
    begin_ = stack.floor() - stack.guard();
    end_ = stack.base();
  }
  [[nodiscard]] bool found() const { return end_ != 0; }

  void look(const char* stage) {
    watcher_.ask();
    seen_[stage] = last_;
  }
  [[nodiscard]] const nlohmann::json& seen() const { return seen_; }

 private:
  std::uintptr_t begin_ = 0;
  std::uintptr_t end_ = 0;
  nlohmann::json last_;
  nlohmann::json seen_;
  Watcher watcher_{[this] { last_ = snapshot(begin_, end_); }};
};

/// A thread's own stack is there while the thread is: it is found, and looked at a last time, from
/// inside.
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

// ---- in the parent ------------------------------------------------------------------------------

struct Measure {
  const char* heading;
  const char* member;  // of a snapshot
  const char* metric;
};

constexpr std::array measures{
    Measure{"RSS: in physical memory", "resident", "stage_rss_"},
    Measure{"charged: counts against the commit limit", "charged", "stage_charged_"},
    Measure{"Kbytes: address space, guard included", "mapped", "stage_mapped_"},
    Measure{"Dirty: written to; where that is not the RSS", "dirty", "stage_dirty_"}};

std::vector<std::string> metrics() {
  std::vector<std::string> all;
  for (const Measure& measure : measures) {
    for (const char* const stage : stages) {
      all.push_back(measure.metric + std::string(stage));
    }
  }
  return all;
}

/// One subject, and what was seen of it: by stage, or why nothing.
struct Finding {
  Subject subject;
  nlohmann::json seen = nlohmann::json::object();
  std::string failure{};
  std::string reason{};  // the failure in full

  [[nodiscard]] bool ok() const { return failure.empty(); }
  [[nodiscard]] std::optional<std::uint64_t> at(const char* stage, const char* member) const {
    return seen.contains(stage) ? std::optional(seen[stage].at(member).get<std::uint64_t>())
                                : std::nullopt;
  }
  [[nodiscard]] std::uint64_t resident(const char* stage) const {
    return at(stage, "resident").value_or(0);
  }
};

void add_rows(Session& session, const Finding& finding) {
  if (!finding.ok()) {
    session.add_missing(finding.subject.name, metrics(), finding.reason);
    return;
  }
  const std::string note = stack_limit_note(finding.subject, depth + guard);
  for (const Measure& measure : measures) {
    for (const char* const stage : stages) {
      const auto bytes = finding.at(stage, measure.member);
      session.add({.subject = finding.subject.name,
                   .metric = std::string(measure.metric) + stage,
                   .value = bytes ? std::optional(static_cast<double>(*bytes)) : std::nullopt,
                   .unit = "bytes",
                   .note = bytes ? note : "it has no way to give memory back and stay"});
    }
  }
}

std::vector<std::string> cells(const Finding& finding, const char* member) {
  std::vector<std::string> all{"  " + finding.subject.name};
  for (const char* const stage : stages) {
    const auto bytes = finding.at(stage, member);
    all.push_back(bytes ? grouped(*bytes / 1024) : "-");
  }
  return all;
}

Table table_of(const std::vector<Finding>& findings) {
  Table table({"KiB", "created", "deep", "returned", "trimmed", "released"}, 1);
  for (const Measure& measure : measures) {
    const bool is_dirty = std::string_view(measure.member) == "dirty";
    bool headed = false;
    for (const Finding& finding : findings) {
      if (finding.ok() && !(is_dirty && cells(finding, "dirty") == cells(finding, "resident"))) {
        if (!std::exchange(headed, true)) {
          table.add_heading(measure.heading);
        }
        table.add(cells(finding, measure.member));
      }
    }
  }
  for (const Finding& finding : findings) {
    if (!finding.ok()) {
      table.add_sentence({finding.subject.name}, finding.failure);
    }
  }
  return table;
}

/// The names of those of whom it is true; "all" if there are several and it is true of each.
std::string those(const std::vector<Finding>& findings,
                  const std::function<bool(const Finding&)>& is_true) {
  std::vector<std::string> names;
  bool others = false;
  for (const Finding& finding : findings) {
    if (finding.ok() && is_true(finding)) {
      names.push_back(finding.subject.name);
    } else {
      others = others || finding.ok();
    }
  }
  return names.size() > 1 && !others ? "all" : listed(names);
}

/// "..., but for x (12 KiB)", of what is left.
std::string but_for(const std::vector<Finding>& findings, const char* stage) {
  std::vector<std::string> exceptions;
  for (const Finding& finding : findings) {
    if (finding.ok() && finding.resident(stage) > 0) {
      exceptions.push_back(fmt::format("{} ({} KiB)", finding.subject.name,
                                       grouped(finding.resident(stage) / 1024)));
    }
  }
  return exceptions.empty() ? "" : ", but for " + listed(exceptions);
}

std::vector<std::string> what_to_see(const std::vector<Finding>& findings) {
  std::vector<std::string> sentences;
  const auto say = [&](const char* text, const std::string& who) {
    if (!who.empty()) {
      sentences.push_back(fmt::format(fmt::runtime(text), who));
    }
  };
  say("In physical memory before the first touch: {}.",
      those(findings, [](const Finding& each) { return each.resident("created") > depth / 2; }));
  say("Charged to the system in full before the first touch: {}.",
      those(findings, [](const Finding& each) {
        return each.at("created", "charged").value_or(0) > depth / 2;
      }));
  say("Coming back from the depth gave nothing back, the pages were still held by: {}.",
      those(findings, [](const Finding& each) {
        return each.resident("returned") > each.resident("deep") / 2;
      }));
  say("Without a way to give memory back and stay: {}.",
      those(findings, [](const Finding& each) { return !each.at("trimmed", "resident"); }));
  if (!those(findings, [](const Finding& each) {
         return each.at("trimmed", "resident").has_value();
       }).empty()) {
    sentences.push_back("After trim() nothing stayed resident" + but_for(findings, "trimmed") +
                        ".");
  }
  sentences.push_back("Nothing was left after the release" + but_for(findings, "released") + ".");
  return sentences;
}

}  // namespace

/// {"subject"} to {stage: {"mapped", "resident", "dirty", "charged"}}; without "trimmed" if it
/// cannot trim.
nlohmann::json measure_stages(const nlohmann::json& request, Progress&) {
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

void compare_stages(Session& session) {
  std::vector<Finding> findings;
  bool grows_down_died = false;
  for (const Subject& subject : session.stacks()) {
    session.progress().say("stages: " + subject.name);
    Answer answer = subject.unsupported.empty()
                        ? ask_child("stages", {{"subject", subject.name}}, session.progress())
                        : Answer{.failure = subject.unsupported};
    grows_down_died = grows_down_died || (answer.died && subject.strategy == Strategy::grows_down);
    findings.push_back({subject, std::move(answer.result), answer.failure, answer.whole_failure()});
    add_rows(session, findings.back());
  }
  if (findings.empty()) {
    return;
  }
  session.print_title(
      "STAGES",
      fmt::format("One stack of {} with its guard of {}, if it has one, taken down to its end and "
                  "back: what the "
                  "kernel says of its own mappings (/proc/self/smaps). A glibc_thread is looked at "
                  "before it uses "
                  "its stack (created), before it ends (returned) and after join (released).",
                  in_units(depth), in_units(guard)));
  session.print(table_of(findings));
  std::vector<std::string> sentences = what_to_see(findings);
  sentences.emplace_back(grows_down_died ? why_grows_down_dies : "");
  session.print_sentences(sentences);
}

}  // namespace growstack::compare
