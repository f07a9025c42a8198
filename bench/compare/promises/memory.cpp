// Promises about memory: what a stack costs the kernel, what is charged for it, which limits of a
// process hold it.
#include "worker.hpp"

#include "process_memory.hpp"
#include "residency.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <thread>
#include <tuple>

namespace growstack::compare::promises {
namespace {

constexpr std::size_t stack_bytes = 8 * mib;
constexpr std::size_t small_stack = 256 * kib;

/// No more than that becomes resident for the sake of a count.
constexpr std::size_t most_resident = 512 * mib;

void limit_to(__rlimit_resource resource, std::size_t bytes) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0) {
    throw std::system_error(errno, std::generic_category(), "getrlimit");
  }
  limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
  if (setrlimit(resource, &limit) != 0) {
    throw std::system_error(errno, std::generic_category(), "setrlimit");
  }
}

// ---- many stacks --------------------------------------------------------------------------------

/// As many as can be had, all of them there at once, each entered once.
class Crowd {
 public:
  Crowd(const Question& question, std::size_t wanted, std::size_t bytes)
      : subject_(question.subject), wanted_(wanted), bytes_(bytes) {}

  /// Calls look() when they are all there.
  void gather(const std::function<void()>& look) {
    for (;;) {
      std::unique_ptr<AnyStack> stack = made_or_none();
      if (!stack) {
        break;
      }
      if (stack->base() == 0) {  // it is there only while something runs on it
        enter_next(std::move(stack), look);
        return;
      }
      try {
        stack->run([] {});
      } catch (const std::exception& error) {
        why_no_more_ = error.what();
        break;
      }
      stacks_.push_back(std::move(stack));
    }
    look();
  }

  [[nodiscard]] std::size_t count() const { return stacks_.size(); }
  [[nodiscard]] const std::string& why_no_more() const { return why_no_more_; }

 private:
  std::unique_ptr<AnyStack> made_or_none() {
    constexpr std::size_t often_enough = 16;
    if (count() >= wanted_) {
      return nullptr;
    }
    if (count() % often_enough == 0 && status_bytes("VmRSS") > most_resident) {
      why_no_more_ = fmt::format("stopped with {} MiB resident", most_resident / mib);
      return nullptr;
    }
    try {
      return make(subject_, bytes_);
    } catch (const std::exception& error) {
      why_no_more_ = error.what();
      return nullptr;
    }
  }

  /// Each on top of the one before.
  void enter_next(std::unique_ptr<AnyStack> stack, const std::function<void()>& look) {
    bool entered = false;
    try {
      stacks_.push_back(std::move(stack));
      AnyStack& here = *stacks_.back();
      here.run([&] {
        entered = true;
        if (std::unique_ptr<AnyStack> next = made_or_none()) {
          enter_next(std::move(next), look);
        } else {
          look();
        }
      });
    } catch (const std::exception& error) {
      if (entered) {
        throw;
      }
      why_no_more_ = error.what();
      stacks_.pop_back();
      look();
    }
  }

  std::string subject_;
  std::size_t wanted_;
  std::size_t bytes_;  // of each
  std::vector<std::unique_ptr<AnyStack>> stacks_;
  std::string why_no_more_;
};

std::size_t how_many(const Question& question) { return question.quick ? 200 : 1000; }

/// The first stack brings threads and tables of its own, and every thread an arena of malloc's
/// unless told otherwise: not counted.
void warm_up(std::unique_ptr<AnyStack>& first, const Question& question, std::size_t bytes) {
  mallopt(M_ARENA_MAX, 1);
  first = make(question.subject, bytes);
  if (first->base() == 0) {  // glibc keeps it for the next thread, unless that one needs more
    first = make(question.subject, bytes / 2);
  }
  first->run([] {});
}

/// Mappings and page tables per stack, of many of that size.
std::pair<Cell, Cell> cost_of_each(const Question& question, std::size_t bytes_of_each) {
  const Fate fate = in_worker(
      [&] {
        std::unique_ptr<AnyStack> first;
        warm_up(first, question, bytes_of_each);
        Crowd crowd(question, how_many(question), bytes_of_each);
        const auto mappings_before = static_cast<double>(mapping_count());
        const auto tables_before = static_cast<double>(status_bytes("VmPTE"));
        nlohmann::json seen;
        crowd.gather([&] {
          const auto count = static_cast<double>(std::max<std::size_t>(crowd.count(), 1));
          seen = {{"count", crowd.count()},
                  {"mappings", (static_cast<double>(mapping_count()) - mappings_before) / count},
                  {"tables", (static_cast<double>(status_bytes("VmPTE")) - tables_before) / count}};
        });
        seen["why"] = crowd.why_no_more();
        return seen;
      },
      std::chrono::seconds(20));
  if (!fate.survived()) {
    return {survival(fate), survival(fate)};
  }
  const std::size_t count = fate.said.at("count");
  const std::string fewer =
      count == how_many(question)
          ? ""
          : fmt::format("of {} stacks: {}", count, fate.said.at("why").get<std::string>());
  return {number(fate.said.at("mappings"), fewer), bytes(fate.said.at("tables"), fewer)};
}

Cells ask_crowd(const Question& question) {
  auto [large_mappings, large_tables] = cost_of_each(question, stack_bytes);
  auto [small_mappings, small_tables] = cost_of_each(question, small_stack);
  return {{"vmas_each", std::move(large_mappings)},
          {"vmpte_each", std::move(large_tables)},
          {"vmas_each_small", std::move(small_mappings)},
          {"vmpte_each_small", std::move(small_tables)}};
}

Cells ask_data_limit(const Question& question) {
  constexpr std::size_t limit = 64 * mib;
  const Fate fate = in_worker(
      [&] {
        limit_to(RLIMIT_DATA, limit);
        Crowd crowd(question, how_many(question), stack_bytes);
        crowd.gather([] {});
        return nlohmann::json{{"count", crowd.count()}, {"why", crowd.why_no_more()}};
      },
      std::chrono::seconds(20));
  if (!fate.survived()) {
    return {{"made_under_data_limit", survival(fate)}};
  }
  const std::size_t count = fate.said.at("count");
  return {{"made_under_data_limit",
           number(static_cast<double>(count),
                  count == how_many(question) ? "" : fate.said.at("why").get<std::string>())}};
}

// ---- one stack ----------------------------------------------------------------------------------

struct Charge {
  double data = 0;
  double charged = 0;
  double resident = 0;
};

Charge charge_of(const AnyStack& stack, std::size_t data_before) {
  const Residency seen = residency(stack.floor() - stack.guard(), stack.base());
  return {.data = static_cast<double>(status_bytes("VmData")) - static_cast<double>(data_before),
          .charged = static_cast<double>(seen.charged),
          .resident = static_cast<double>(seen.resident)};
}

nlohmann::json to_json(const Charge& charge) {
  return {{"data", charge.data}, {"charged", charge.charged}, {"resident", charge.resident}};
}

/// {"reserved", "grown", "trimmed"}, the last only for those that can.
nlohmann::json watch_charges(const Question& question) {
  std::unique_ptr<AnyStack> first;
  warm_up(first, question, stack_bytes);
  static_cast<void>(first->trim());  // it may share a mapping with the one that is looked at
  const std::size_t data_before = status_bytes("VmData");
  const auto stack = make(question.subject, stack_bytes);
  nlohmann::json seen;
  if (stack->base() != 0) {
    seen["reserved"] = to_json(charge_of(*stack, data_before));
  }
  stack->run([&] {
    if (!seen.contains("reserved")) {
      seen["reserved"] = to_json(charge_of(*stack, data_before));
    }
    go_down(*stack);
    seen["grown"] = to_json(charge_of(*stack, data_before));
  });
  if (const std::error_code error = stack->trim(); !error) {
    seen["trimmed"] = to_json(charge_of(*stack, data_before));
  }
  return seen;
}

Cells ask_charges(const Question& question) {
  const Fate fate = in_worker([&] { return watch_charges(question); });
  Cells cells;
  for (const char* const what : {"data", "charged"}) {
    for (const char* const when : {"reserved", "grown", "trimmed"}) {
      cells[fmt::format("{}_{}", what, when)] = !fate.survived() ? survival(fate)
                                                : fate.said.contains(when)
                                                    ? bytes(fate.said[when].at(what))
                                                    : no_trim();
    }
  }
  cells["rss_trimmed"] = !fate.survived() ? survival(fate)
                         : fate.said.contains("trimmed")
                             ? bytes(fate.said["trimmed"].at("resident"))
                             : no_trim();
  return cells;
}

/// Whether RLIMIT_STACK holds it, which is a limit of the main thread's stack, and of
/// MAP_GROWSDOWN.
Cells ask_stack_limit(const Question& question) {
  const Fate fate = in_worker([&] {
    limit_to(RLIMIT_STACK, mib);
    const auto stack = make_stack(
        question.subject, {.reserve = stack_bytes, .guard = guard_bytes, .initial_commit = {}});
    stack->run([&] { go_down(*stack, stack_bytes / 2); });
    return nlohmann::json();
  });
  if (fate.survived()) {
    return {{"free_of_stack_limit", yes()}};
  }
  return {{"free_of_stack_limit",
           fate.failure.empty() ? no(fate.word()) : no("refused", fate.failure)}};
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

/// It fills mappings that have room for a huge page, also those that were just emptied.
Cells ask_khugepaged(const Question& question) {
  constexpr std::chrono::seconds patience{150};
  constexpr std::size_t scans = 3;  // the first one may have been under way
  const Fate fate = in_worker(
      [&] {
        const auto stack = make(question.subject, stack_bytes);
        stack->run([&] { go_down(*stack, stack_bytes / 2); });
        if (const std::error_code error = stack->trim(); error) {
          return nlohmann::json{{"no_trim", error.message()}};
        }
        const Charge before = charge_of(*stack, 0);
        for (const std::size_t start = full_scans(); full_scans() < start + scans;) {
          std::this_thread::sleep_for(std::chrono::milliseconds(200));
        }
        return nlohmann::json{{"before", before.resident},
                              {"after", charge_of(*stack, 0).resident}};
      },
      patience);
  if (!fate.survived()) {
    return {{"stays_trimmed",
             fate.hung ? none("khugepaged did not get through", "no scan") : survival(fate)}};
  }
  if (fate.said.contains("no_trim")) {
    return {{"stays_trimmed", no_trim()}};
  }
  const double before = fate.said.at("before");
  const double after = fate.said.at("after");
  return {{"stays_trimmed", after <= before ? yes()
                                            : no("no", fmt::format("{} KiB resident became {} KiB",
                                                                   before / kib, after / kib))}};
}

}  // namespace

Family promises_of_memory() {
  constexpr std::chrono::seconds patience_for_khugepaged{160};
  return {
      .title = "Memory",
      .what_was_done =
          "1,000 stacks of 8 MiB (200 with --quick), and as many of 256 KiB, each entered once: "
          "mappings (/proc/self/maps) "
          "and "
          "page tables (VmPTE) per stack; and how many of 8 MiB could be made under RLIMIT_DATA of "
          "64 MiB. One stack of 8 "
          "MiB when it was reserved, 1 MiB deep, and trimmed: what counts against RLIMIT_DATA "
          "(VmData), what against the "
          "system's commit limit (mappings with the flag ac in smaps), what is resident. A stack "
          "of 8 MiB, 4 MiB deep, "
          "under RLIMIT_STACK of 1 MiB. With --slow: whether what was trimmed is still gone when "
          "khugepaged has looked at "
          "everything twice.",
      .probes = {
          {.name = "crowd",
           .promises = {{"vmas_each", "mappings, each of 8 MiB", "mappings"},
                        {"vmpte_each", "page tables, each of 8 MiB", "bytes"},
                        {"vmas_each_small", "mappings, each of 256 KiB", "mappings"},
                        {"vmpte_each_small", "page tables, each of 256 KiB", "bytes"}},
           .ask = ask_crowd,
           .patience = std::chrono::seconds(25)},
          {.name = "data_limit",
           .promises = {{"made_under_data_limit", "made under RLIMIT_DATA of 64 MiB", "stacks"}},
           .ask = ask_data_limit,
           .patience = std::chrono::seconds(25)},
          {.name = "charges",
           .promises = {{"data_reserved", "RLIMIT_DATA charge, reserved", "bytes"},
                        {"data_grown", "RLIMIT_DATA charge, 1 MiB deep", "bytes"},
                        {"data_trimmed", "RLIMIT_DATA charge, trimmed", "bytes"},
                        {"charged_reserved", "commit charge, reserved", "bytes"},
                        {"charged_grown", "commit charge, 1 MiB deep", "bytes"},
                        {"charged_trimmed", "commit charge, trimmed", "bytes"},
                        {"rss_trimmed", "resident, trimmed", "bytes"}},
           .ask = ask_charges},
          {.name = "stack_limit",
           .promises = {{"free_of_stack_limit", "4 MiB deep, RLIMIT_STACK 1 MiB", "1/0"}},
           .ask = ask_stack_limit},
          {.name = "khugepaged",
           .promises = {{"stays_trimmed", "stays trimmed when khugepaged looked", "1/0"}},
           .ask = ask_khugepaged,
           .patience = patience_for_khugepaged,
           .slow = true}}};
}

}  // namespace growstack::compare::promises
