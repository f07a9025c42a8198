// Stages: what one stack costs in memory over its life.
#include "group.hpp"

#include "child.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "residency.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <pthread.h>

#include <array>
#include <cstdint>
#include <functional>
#include <semaphore>
#include <system_error>
#include <thread>

namespace growstack::compare {
namespace {

constexpr std::size_t depth = std::size_t{64} * 1024 * 1024;
constexpr std::size_t guard = std::size_t{64} * 1024;

/// Left at the far end, for the frames that wait there.
constexpr std::size_t margin = std::size_t{32} * 1024;

constexpr std::array stages{"created", "deep", "returned", "trimmed", "released"};

// ---- in the child ----

nlohmann::json snapshot(std::uintptr_t begin, std::uintptr_t end) {
  const Residency now = residency(begin, end);
  return {{"mapped", now.mapped}, {"resident", now.resident}, {"dirty", now.dirty}, {"charged", now.charged}};
}

/// Stops one thread at a point while another one looks.
class Meeting {
 public:
  void stop_here() {
    arrived_.release();
    go_on_.acquire();
  }
  void wait_for_arrival() { arrived_.acquire(); }
  void let_go_on() { go_on_.release(); }

 private:
  std::binary_semaphore arrived_{0};
  std::binary_semaphore go_on_{0};
};

/// A thread that looks when it is asked to, while the one that asks stands still. It is there before the stack and has
/// looked once: a thread's own stack and heap, mapped later, may end up in the room that grows_down grows into.
class Watcher {
 public:
  explicit Watcher(std::function<void()> look) : look_(std::move(look)), thread_([this] { serve(); }) { ask(); }
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

nlohmann::json stages_of_stack(Strategy strategy) {
  bench::raise_stack_limit(depth + guard);
  nlohmann::json last;
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  Watcher watcher([&] { last = snapshot(begin, end); });
  nlohmann::json seen;
  const auto look = [&](const char* stage) {
    watcher.ask();
    seen[stage] = last;
  };
  Stack stack({.reserve = depth, .guard = guard, .strategy = strategy, .name = "stages"});
  const auto floor = reinterpret_cast<std::uintptr_t>(stack.floor());
  begin = floor - guard;
  end = reinterpret_cast<std::uintptr_t>(stack.base());
  look("created");
  call(stack, [&] { bench::descend(floor + margin, [&] { look("deep"); }); });
  look("returned");
  if (const std::error_code error = stack.trim(); error) {
    throw std::system_error(error, "trim");
  }
  look("trimmed");
  { const Stack last_of_it = std::move(stack); }
  look("released");
  return seen;
}

/// One plain thread, stopped three times.
struct PlainThread {
  Meeting before;
  Meeting deep;
  Meeting returned;
  std::uintptr_t begin = 0;  // with its guard
  std::uintptr_t end = 0;

  void run() {
    pthread_attr_t attributes;
    void* address = nullptr;
    std::size_t size = 0;
    std::size_t guard_size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
      pthread_attr_getstack(&attributes, &address, &size);
      pthread_attr_getguardsize(&attributes, &guard_size);
      pthread_attr_destroy(&attributes);
    }
    const auto lowest = reinterpret_cast<std::uintptr_t>(address);
    begin = lowest - guard_size;
    end = lowest + size;
    before.stop_here();
    bench::descend(lowest + margin, [&] { deep.stop_here(); });
    returned.stop_here();
  }
};

void require(int error, const char* call) {
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), call);
  }
}

nlohmann::json stages_of_plain_thread() {
  pthread_attr_t attributes;
  require(pthread_attr_init(&attributes), "pthread_attr_init");
  require(pthread_attr_setstacksize(&attributes, depth), "pthread_attr_setstacksize");
  require(pthread_attr_setguardsize(&attributes, guard), "pthread_attr_setguardsize");
  PlainThread body;
  pthread_t thread;
  require(pthread_create(
              &thread, &attributes,
              [](void* argument) -> void* {
                static_cast<PlainThread*>(argument)->run();
                return nullptr;
              },
              &body),
          "pthread_create");
  nlohmann::json seen;
  const auto look = [&](const char* stage, Meeting& at) {
    at.wait_for_arrival();
    seen[stage] = snapshot(body.begin, body.end);
    at.let_go_on();
  };
  look("before", body.before);
  look("deep", body.deep);
  look("returned", body.returned);
  require(pthread_join(thread, nullptr), "pthread_join");
  seen["after_join"] = snapshot(body.begin, body.end);
  pthread_attr_destroy(&attributes);
  return seen;
}

// ---- in the parent ----

struct Line {
  const char* title;
  const char* member;  // of a snapshot
  const char* metric;
};

constexpr std::array lines{Line{"Kbytes", "mapped", "stage_mapped_"}, Line{"RSS", "resident", "stage_rss_"},
                           Line{"Dirty", "dirty", "stage_dirty_"}, Line{"charged", "charged", "stage_charged_"}};

std::vector<std::string> metrics() {
  std::vector<std::string> all;
  for (const Line& line : lines) {
    for (const char* const stage : stages) {
      all.push_back(line.metric + std::string(stage));
    }
  }
  return all;
}

void add_rows(Session& session, const std::string& subject, const nlohmann::json& seen, const std::string& note) {
  for (const Line& line : lines) {
    for (const auto& [stage, snapshot] : seen.items()) {
      session.add({.subject = subject,
                   .metric = line.metric + stage,
                   .value = snapshot.at(line.member).get<double>(),
                   .unit = "bytes",
                   .note = note});
    }
  }
}

/// The stages of a plain thread stand under those of a stack: before = created, after join = released.
std::string cell(const nlohmann::json& seen, std::size_t column, const char* member) {
  const bool is_thread = seen.contains("before");
  const char* stage = stages[column];
  if (is_thread) {
    stage = column == 0 ? "before" : column == stages.size() - 1 ? "after_join" : stage;
  }
  return seen.contains(stage) ? grouped(seen[stage].at(member).get<std::uint64_t>() / 1024) : "-";
}

void add_to_table(Table& table, const std::string& subject, const nlohmann::json& seen) {
  for (const Line& line : lines) {
    std::vector<std::string> cells{&line == lines.begin() ? subject : "", line.title};
    for (std::size_t column = 0; column < stages.size(); ++column) {
      cells.push_back(cell(seen, column, line.member));
    }
    table.add(std::move(cells));
  }
}

double resident(const nlohmann::json& seen, const char* stage) { return seen.at(stage).at("resident"); }

std::vector<std::string> what_to_see(const nlohmann::json& all) {
  std::vector<std::string> sentences;
  std::vector<std::string> keep_it;
  std::vector<std::string> charged_in_full;
  bool can_trim = false;
  double largest_trimmed = 0;
  double largest_released = 0;
  for (const auto& [name, seen] : all.items()) {
    const bool is_thread = seen.contains("before");
    const double deep = resident(seen, "deep");
    if (resident(seen, "returned") > deep / 2) {
      keep_it.push_back(name);
    }
    const nlohmann::json& first = seen.at(is_thread ? "before" : "created");
    if (first.at("charged").get<double>() > static_cast<double>(depth) / 2) {
      charged_in_full.push_back(name);
    }
    if (!is_thread) {
      can_trim = true;
      largest_trimmed = std::max(largest_trimmed, resident(seen, "trimmed"));
      largest_released = std::max(largest_released, resident(seen, "released"));
    }
  }
  sentences.push_back(
      keep_it.empty()
          ? "Coming back from the depth gave the memory back by itself."
          : fmt::format("Coming back from the depth gives nothing back: {} still held the pages.", listed(keep_it)));
  if (can_trim) {
    sentences.push_back(largest_trimmed + largest_released == 0
                            ? "After trim() nothing stayed resident, and nothing was left after the release."
                            : fmt::format("After trim() at most {} KiB stayed resident, after the release {} KiB.",
                                          grouped(largest_trimmed / 1024), grouped(largest_released / 1024)));
  }
  if (!charged_in_full.empty()) {
    sentences.push_back(
        fmt::format("{} had the whole stack charged to the system before the first touch.", listed(charged_in_full)));
  }
  return sentences;
}

std::vector<Subject> participants(const Session& session) {
  std::vector<Subject> all = session.strategies();
  if (session.includes(pthread_name)) {
    all.push_back({.name = std::string(pthread_name), .description = {}, .least_kernel = {}});
  }
  return all;
}

}  // namespace

nlohmann::json measure_stages(const nlohmann::json& request, Progress&) {
  const std::string name = request.at("subject");
  return name == pthread_name ? stages_of_plain_thread() : stages_of_stack(strategy_named(name));
}

void compare_stages(Session& session) {
  Table table({"", "KiB", "created", "deep", "returned", "trimmed", "released"}, 2);
  nlohmann::json all = nlohmann::json::object();
  bool grows_down_died = false;
  for (const Subject& subject : participants(session)) {
    session.progress().say("stages: " + subject.name);
    const Answer answer = subject.unsupported.empty() ? ask_child("stages", {{"subject", subject.name}}, session.progress())
                                                      : Answer{.failure = subject.unsupported};
    grows_down_died = grows_down_died || (answer.died && subject.strategy == Strategy::grows_down);
    if (!answer.failure.empty()) {
      session.add_missing(subject.name, metrics(), answer.whole_failure());
      table.add_sentence({subject.name}, answer.failure);
      continue;
    }
    add_rows(session, subject.name, answer.result, stack_limit_note(subject, depth + guard));
    add_to_table(table, subject.name, answer.result);
    all[subject.name] = answer.result;
  }
  if (session.strategies().empty() && all.empty()) {
    return;
  }
  session.print_title("STAGES",
                      fmt::format("One stack of {} with its guard of {}, taken down to its end and back: what the kernel "
                                  "says of its own mappings (/proc/self/smaps). A pthread is looked at before it uses its "
                                  "stack (created) and after join (released). charged: counts against the commit limit.",
                                  in_units(depth), in_units(guard)));
  session.print(table);
  std::vector<std::string> sentences = what_to_see(all);
  sentences.emplace_back(grows_down_died ? why_grows_down_dies : "");
  session.print_sentences(sentences);
}

}  // namespace growstack::compare
