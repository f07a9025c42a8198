// Promises about memory: what a stack costs the kernel, what is charged for it, and which limits of
// the process count for it.
#include "process_memory.hpp"
#include "promise.hpp"
#include "residency.hpp"
#include "stacks.hpp"

#include <fmt/format.h>

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace growstack::compare::promises {
namespace {

constexpr std::size_t stack_bytes = 8 * mib;
constexpr std::size_t small_stack = 256 * kib;

void limit_to(__rlimit_resource resource, std::size_t bytes) {
  rlimit limit{};
  require(getrlimit(resource, &limit) == 0, "getrlimit");
  limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
  require(setrlimit(resource, &limit) == 0, "setrlimit");
}

// ---- many stacks --------------------------------------------------------------------------------

/// Stacks that are all there at once. Each is made and entered by code on the one before, because a
/// stack of glibc's is there only while code runs on it.
class Crowd {
 public:
  Crowd(const Question& question, std::size_t bytes)
      : subject_(question.subject), wanted_(question.quick ? 200 : 1000), bytes_(bytes) {}

  /// Enters as many as are wanted, or can be had, and calls look() on the last one.
  void enter(const std::function<void()>& look) {
    bool entered = false;
    try {
      if (const std::unique_ptr<AnyStack> stack = next()) {
        stack->run([&] {
          entered = true;
          ++count_;
          enter(look);
        });
      }
    } catch (const std::exception& error) {
      if (entered) {
        throw;
      }
      why_no_more_ = error.what();
    }
    if (!entered) {
      look();
    }
  }

  [[nodiscard]] std::size_t count() const { return count_; }
  /// Returns {"count", "why": why it is not what was wanted; empty if it is}.
  [[nodiscard]] nlohmann::json result() const { return {{"count", count_}, {"why", why_no_more_}}; }

 private:
  /// Returns nothing if there are enough.
  std::unique_ptr<AnyStack> next() {
    constexpr std::size_t most_resident = 512 * mib;
    constexpr std::size_t often_enough = 16;
    if (count_ == wanted_) {
      return nullptr;
    }
    if (count_ % often_enough == 0 && status_bytes("VmRSS") > most_resident) {
      throw std::runtime_error(fmt::format("stopped with {} MiB resident", most_resident / mib));
    }
    return make(subject_, bytes_);
  }

  std::string subject_;
  std::size_t wanted_;
  std::size_t bytes_;  // of each
  std::size_t count_ = 0;
  std::string why_no_more_;
};

/// Makes a first stack, which is not counted: it brings threads and tables of its own. Without the
/// option every thread brings an arena of malloc's, too.
std::unique_ptr<AnyStack> warm_up(const Question& question, std::size_t bytes) {
  mallopt(M_ARENA_MAX, 1);
  auto first = make(question.subject, bytes);
  if (first->base() == 0) {  // glibc keeps it for the next thread, unless that one needs more
    first = make(question.subject, bytes / 2);
  }
  first->run([] {});
  return first;
}

/// Says {"count", "why", "mappings", "tables": bytes of page tables}, the last two of each stack.
template <std::size_t bytes>
Fate cost_of_each(const Question& question) {
  return in_worker(
      [&] {
        const auto first = warm_up(question, bytes);
        Crowd crowd(question, bytes);
        const std::size_t mappings_before = mapping_count();
        const std::size_t tables_before = status_bytes("VmPTE");
        nlohmann::json said;
        crowd.enter([&] {
          const auto count = static_cast<double>(std::max<std::size_t>(crowd.count(), 1));
          const auto each = [&](std::size_t after, std::size_t before) {
            return (static_cast<double>(after) - static_cast<double>(before)) / count;
          };
          said = crowd.result();
          said["mappings"] = each(mapping_count(), mappings_before);
          said["tables"] = each(status_bytes("VmPTE"), tables_before);
        });
        return said;
      },
      std::chrono::seconds(20));
}

Fate enter_under_data_limit(const Question& question) {
  return in_worker(
      [&] {
        limit_to(RLIMIT_DATA, 64 * mib);
        Crowd crowd(question, stack_bytes);
        crowd.enter([] {});
        return crowd.result();
      },
      std::chrono::seconds(20));
}

CellMaker of_each(const char* what, Cell (*make)(double value, std::string note)) {
  return if_survived([=](const nlohmann::json& said) {
    const std::string why = said.at("why");
    return make(said.at(what), why.empty() ? ""
                                           : fmt::format("of {} stacks: {}",
                                                         said.at("count").get<std::size_t>(), why));
  });
}

Cell count(const nlohmann::json& said) { return number(said.at("count"), said.at("why")); }

// ---- one stack ----------------------------------------------------------------------------------

Residency residency_of(const AnyStack& stack) {
  return residency(stack.floor() - stack.guard(), stack.base());
}

/// Says {"data_reserved", "charged_reserved", "rss_reserved"} in bytes, and the same grown and
/// trimmed. Nothing is trimmed if the subject has no trim.
Fate watch_charges(const Question& question) {
  return in_worker([&] {
    const auto first = warm_up(question, stack_bytes);
    static_cast<void>(first->trim());  // it may share a mapping with the one that is looked at
    const auto data_before = static_cast<std::int64_t>(status_bytes("VmData"));
    const auto stack = make(question.subject, stack_bytes);
    nlohmann::json said;
    const auto look = [&](const std::string& when) {
      const Residency seen = residency_of(*stack);
      said["data_" + when] = static_cast<std::int64_t>(status_bytes("VmData")) - data_before;
      said["charged_" + when] = seen.charged;
      said["rss_" + when] = seen.resident;
    };
    if (stack->base() != 0) {
      look("reserved");
    }
    stack->run([&] {
      if (said.empty()) {
        look("reserved");
      }
      go_down(*stack);
      look("grown");
    });
    if (trim(*stack)) {
      look("trimmed");
    }
    return said;
  });
}

CellMaker charge(const char* what) {
  return if_survived([what](const nlohmann::json& said) {
    return said.contains(what) ? bytes(said[what]) : no_trim();
  });
}

/// RLIMIT_STACK is a limit of the main thread's stack and of MAP_GROWSDOWN.
Fate grow_under_stack_limit(const Question& question) {
  return in_worker([&] {
    limit_to(RLIMIT_STACK, mib);
    const auto stack = make_stack(
        question.subject, {.reserve = stack_bytes, .guard = guard_bytes, .initial_commit = {}});
    stack->run([&] { go_down(*stack, stack_bytes / 2); });
    return nullptr;
  });
}

Cell made(const Fate& fate) {
  return fate.failure.empty() ? survival(fate) : no("refused", fate.failure);
}

// ---- khugepaged ---------------------------------------------------------------------------------

std::size_t full_scans() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/khugepaged/full_scans");
  std::size_t scans = 0;
  if (!(file >> scans)) {
    throw std::runtime_error("no khugepaged here");
  }
  return scans;
}

/// Says {"before", "after": bytes resident}, or null if the subject has no trim. khugepaged fills
/// mappings that have room for a huge page, also those that were just emptied.
Fate wait_for_khugepaged(const Question& question) {
  constexpr std::size_t scans = 3;  // the first one may have been under way
  return in_worker(
      [&]() -> nlohmann::json {
        const auto stack = make(question.subject, stack_bytes);
        stack->run([&] { go_down(*stack, stack_bytes / 2); });
        if (!trim(*stack)) {
          return nullptr;
        }
        const std::size_t before = residency_of(*stack).resident;
        for (const std::size_t start = full_scans(); full_scans() < start + scans;) {
          std::this_thread::sleep_for(std::chrono::milliseconds(200));
        }
        return {{"before", before}, {"after", residency_of(*stack).resident}};
      },
      std::chrono::seconds(150));
}

Cell stays_trimmed(const Fate& fate) {
  if (fate.hung) {
    return none("khugepaged did not get through", "no scan");
  }
  if (!fate.survived()) {
    return survival(fate);
  }
  if (fate.said.is_null()) {
    return no_trim();
  }
  const std::size_t before = fate.said.at("before");
  const std::size_t after = fate.said.at("after");
  return after <= before
             ? yes()
             : no("no", fmt::format("{} KiB resident became {} KiB", before / kib, after / kib));
}

}  // namespace

Family promises_of_memory() {
  return {
      .title = "Memory",
      .setting =
          "1,000 stacks (200 with --quick) are there at once, each entered once. Then one stack of "
          "8 MiB is looked at three times: when it is reserved, when code on it went 1 MiB deep, "
          "and when it is trimmed.",
      .promises =
          {{.name = "vmas_each",
            .title = "mappings, each of 8 MiB",
            .sentence = "Lines of /proc/self/maps for each stack. vm.max_map_count bounds them.",
            .experiment = cost_of_each<stack_bytes>,
            .cell = of_each("mappings", number),
            .unit = "mappings"},
           {.name = "vmpte_each",
            .title = "page tables, each of 8 MiB",
            .sentence = "Page tables (VmPTE) for each stack.",
            .experiment = cost_of_each<stack_bytes>,
            .cell = of_each("tables", bytes),
            .unit = "bytes"},
           {.name = "vmas_each_small",
            .title = "mappings, each of 256 KiB",
            .sentence = "The same lines for stacks of 256 KiB.",
            .experiment = cost_of_each<small_stack>,
            .cell = of_each("mappings", number),
            .unit = "mappings"},
           {.name = "vmpte_each_small",
            .title = "page tables, each of 256 KiB",
            .sentence = "The same page tables for stacks of 256 KiB.",
            .experiment = cost_of_each<small_stack>,
            .cell = of_each("tables", bytes),
            .unit = "bytes"},
           {.name = "made_under_data_limit",
            .title = "made under RLIMIT_DATA of 64 MiB",
            .sentence = "How many of 1,000 stacks of 8 MiB can be made under that limit.",
            .experiment = enter_under_data_limit,
            .cell = if_survived(count),
            .unit = "stacks"},
           {.name = "data_reserved",
            .title = "RLIMIT_DATA charge, reserved",
            .sentence = "What a reserved stack adds to VmData, which counts against RLIMIT_DATA.",
            .experiment = watch_charges,
            .cell = charge("data_reserved"),
            .unit = "bytes"},
           {.name = "data_grown",
            .title = "RLIMIT_DATA charge, 1 MiB deep",
            .sentence = "What the stack adds to VmData when it is 1 MiB deep.",
            .experiment = watch_charges,
            .cell = charge("data_grown"),
            .unit = "bytes"},
           {.name = "data_trimmed",
            .title = "RLIMIT_DATA charge, trimmed",
            .sentence = "What the stack adds to VmData after the trim.",
            .experiment = watch_charges,
            .cell = charge("data_trimmed"),
            .unit = "bytes"},
           {.name = "charged_reserved",
            .title = "commit charge, reserved",
            .sentence = "How much of a reserved stack counts against the commit limit of the "
                        "system: mappings with the flag ac in /proc/self/smaps.",
            .experiment = watch_charges,
            .cell = charge("charged_reserved"),
            .unit = "bytes"},
           {.name = "charged_grown",
            .title = "commit charge, 1 MiB deep",
            .sentence = "How much of it counts when the stack is 1 MiB deep.",
            .experiment = watch_charges,
            .cell = charge("charged_grown"),
            .unit = "bytes"},
           {.name = "charged_trimmed",
            .title = "commit charge, trimmed",
            .sentence = "How much of it counts after the trim.",
            .experiment = watch_charges,
            .cell = charge("charged_trimmed"),
            .unit = "bytes"},
           {.name = "rss_trimmed",
            .title = "resident, trimmed",
            .sentence = "How much of the stack is in physical memory after the trim.",
            .experiment = watch_charges,
            .cell = charge("rss_trimmed"),
            .unit = "bytes"},
           {.name = "free_of_stack_limit",
            .title = "4 MiB deep, RLIMIT_STACK 1 MiB",
            .sentence = "Code on a stack of 8 MiB goes 4 MiB deep under that limit.",
            .experiment = grow_under_stack_limit,
            .cell = made},
           {.name = "stays_trimmed",
            .title = "stays trimmed when khugepaged looked",
            .sentence = "A stack of 8 MiB that was 4 MiB deep is trimmed. The experiment waits "
                        "until khugepaged has looked at all memory twice: is the memory still "
                        "gone? Only with --slow.",
            .experiment = wait_for_khugepaged,
            .cell = stays_trimmed,
            .slow = true}},
  };
}

}  // namespace growstack::compare::promises
