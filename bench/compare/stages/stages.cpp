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

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Residency, mapped, resident, dirty, charged)

namespace {

constexpr std::size_t depth = 64 * mebibyte;
constexpr std::size_t guard = 64 * kibibyte;

/// Room at the far end for the frames that wait there.
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

/// Answers {"subject"} with {stage: {"mapped", "resident", "dirty", "charged"}}; without "trimmed"
/// if the subject cannot trim. A thread's own stack exists only while the thread does: the first
/// and the last look at it happen on it.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  raise_limits_for_stacks(depth + guard);
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  Residency last;
  Watcher watcher([&] { last = residency(begin, end); });
  nlohmann::json seen;
  const auto look = [&](const char* stage) {
    watcher.ask();
    seen[stage] = last;
  };
  auto stack = make_stack(request.at("subject"), {.reserve = depth, .guard = guard});
  const bool exists_already = stack->base() != 0;
  const auto look_first = [&] {
    begin = stack->floor() - stack->guard();
    end = stack->base();
    look("created");
  };
  if (exists_already) {
    look_first();
  }
  stack->run([&] {
    if (!exists_already) {
      look_first();
    }
    bench::descend(stack->floor() + margin, [&] { look("deep"); });
    if (!exists_already) {
      look("returned");
    }
  });
  if (exists_already) {
    look("returned");
  }
  const std::error_code error = stack->trim();
  if (!error) {
    look("trimmed");
  } else if (error != std::errc::not_supported) {
    throw std::system_error(error, "trim");
  }
  stack.reset();
  look("released");
  return seen;
}

// ---- in the parent ------------------------------------------------------------------------------

struct Kind {
  const char* heading;  // none: only for the JSON file
  const char* member;   // of what was seen at a stage
  const char* metric;
};

constexpr std::array kinds{Kind{"RSS: in physical memory", "resident", "stage_rss_"},
                           Kind{"charged: counts against the commit limit; the others have none",
                                "charged", "stage_charged_"},
                           Kind{"Kbytes: address space, guard included", "mapped", "stage_mapped_"},
                           Kind{nullptr, "dirty", "stage_dirty_"}};

std::string path(const char* stage, const Kind& kind) {
  return fmt::format("{}/{}", stage, kind.member);
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  std::vector<Row> rows;
  for (const Kind& kind : kinds) {
    for (const char* const stage : stages) {
      rows.push_back(its.row(std::string(kind.metric) + stage, its.number(path(stage, kind)),
                             "bytes", stack_limit_note(its.subject, depth + guard),
                             "it cannot give memory back while it exists"));
    }
  }
  return rows;
}

Table table(const Outcomes& all) {
  Table table({"KiB", "created", "deep", "returned", "trimmed", "released"});
  for (const Kind& kind : kinds) {
    std::vector<std::string> paths;
    for (const char* const stage : stages) {
      paths.push_back(path(stage, kind));
    }
    if (kind.heading != nullptr) {
      add_section(table, all, kind.heading, paths, grouped, kibibyte);
    }
  }
  return table;
}

const Registered registered(
    {.name = "stages",
     .group = "stages",
     .title = "STAGES",
     .what =
         "One stack of 64 MiB, with a guard of 64 KiB if it has one, is taken down to its end and "
         "back. The figures are what the kernel says about its mappings (/proc/self/smaps). A "
         "glibc_thread is seen before it uses its stack (created), before it ends (returned), and "
         "after join (released). -: it cannot give memory back while it exists.",
     .subjects = [](const Session& session) { return session.stacks(); },
     .ask = ask_each,
     .request = [](const Session&, const Subject& subject) -> nlohmann::json {
       return {{"subject", subject.name}};
     },
     .measure = measure,
     .rows = rows,
     .table = table});

}  // namespace
}  // namespace growstack::compare
