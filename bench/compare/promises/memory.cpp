// Promises about memory: what a stack costs the kernel, what is charged for it, and which limits of
// the process count for it.
#include "promises/promise.hpp"
#include "run/process_memory.hpp"

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

/// Stacks that are all there at once.
struct Crowd {
  const Question& question;
  std::size_t bytes;  ///< of each
  std::size_t count = 0;
  std::string why_no_more{};

  /// Makes and enters one stack after the other, each from code on the one before, until there are
  /// as many as are wanted or can be had. Then calls look(). No stack is left before that, because
  /// glibc takes the stack of a thread away when the thread ends.
  void enter(const std::function<void()>& look) {
    constexpr std::size_t most_resident = 512 * mib;
    constexpr std::size_t often_enough = 16;
    bool entered = false;
    try {
      if (count % often_enough == 0 && status_bytes("VmRSS") > most_resident) {
        throw std::runtime_error(fmt::format("stopped with {} MiB resident", most_resident / mib));
      }
      if (count < (question.quick ? 200 : 1000)) {
        make(question.subject, bytes)->run([&] {
          entered = true;
          ++count;
          enter(look);
        });
      }
    } catch (const std::exception& error) {
      if (entered) {
        throw;
      }
      why_no_more = error.what();
    }
    if (!entered) {
      look();
    }
  }
};

/// Makes a first stack that is not counted, because it brings threads and tables of its own. The
/// option keeps malloc from making an arena for every thread.
std::unique_ptr<AnyStack> warm_up(const Question& question, std::size_t bytes) {
  mallopt(M_ARENA_MAX, 1);
  auto first = make(question.subject, bytes);
  if (first->base() == 0) {  // glibc keeps it for the next thread, unless that one needs more
    first = make(question.subject, bytes / 2);
  }
  first->run([] {});
  return first;
}

/// Says how many "mappings" and "bytes" of page tables each stack takes.
template <std::size_t bytes>
Fate cost_of_each(const Question& question) {
  return in_worker(
      [&] {
        const auto first = warm_up(question, bytes);
        const auto mappings = static_cast<double>(mapping_count());
        const auto tables = static_cast<double>(status_bytes("VmPTE"));
        Crowd crowd{question, bytes};
        nlohmann::json said;
        crowd.enter([&] {
          const auto count = static_cast<double>(std::max<std::size_t>(crowd.count, 1));
          said["mappings"] = (static_cast<double>(mapping_count()) - mappings) / count;
          said["bytes"] = (static_cast<double>(status_bytes("VmPTE")) - tables) / count;
        });
        if (!crowd.why_no_more.empty()) {
          said["note"] = fmt::format("of {} stacks: {}", crowd.count, crowd.why_no_more);
        }
        return said;
      },
      std::chrono::seconds(20));
}

/// Says how many "stacks" there can be.
Fate enter_under_data_limit(const Question& question) {
  return in_worker(
      [&]() -> nlohmann::json {
        limit_to(RLIMIT_DATA, 64 * mib);
        Crowd crowd{question, stack_bytes};
        crowd.enter([] {});
        return {{"stacks", crowd.count}, {"note", crowd.why_no_more}};
      },
      std::chrono::seconds(20));
}

// ---- one stack ----------------------------------------------------------------------------------

Residency residency_of(const AnyStack& stack) {
  return residency(stack.floor() - stack.guard(), stack.base());
}

/// Says {"data_reserved", "charged_reserved", "rss_reserved"} in bytes; the same for "_grown", and
/// for "_trimmed" if the subject has a trim.
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

/// Lowers RLIMIT_STACK, which bounds the main thread's stack and MAP_GROWSDOWN.
Fate grow_under_stack_limit(const Question& question) {
  return in_worker([&] {
    limit_to(RLIMIT_STACK, mib);
    const auto stack = make_stack(question.subject, {.reserve = stack_bytes, .guard = guard_bytes});
    stack->run([&] { go_down(*stack, stack_bytes / 2); });
    return nullptr;
  });
}

Cell made(const Fate& fate) {
  return fate.failure.empty() ? survival(fate) : no("refused", fate.failure);
}

// ---- khugepaged ---------------------------------------------------------------------------------

std::size_t full_scans() {
  std::size_t scans = 0;
  if (!(std::ifstream("/sys/kernel/mm/transparent_hugepage/khugepaged/full_scans") >> scans)) {
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
      "Memory",
      "1,000 stacks (200 with --quick) are there at once, and code has entered each. One more "
      "stack of 8 MiB is looked at when it is reserved, when code on it is 1 MiB deep, and when it "
      "is trimmed.",
      {{"vmas_each", "mappings, each of 8 MiB",
        "Each stack adds this many lines to /proc/self/maps, which vm.max_map_count bounds.",
        cost_of_each<stack_bytes>, figure("mappings"), "mappings"},
       {"vmpte_each", "page tables, each of 8 MiB",
        "Each stack adds this much to the page tables (VmPTE).", cost_of_each<stack_bytes>,
        figure("bytes", bytes), "bytes"},
       {"vmas_each_small", "mappings, each of 256 KiB",
        "Each stack adds this many lines to /proc/self/maps.", cost_of_each<small_stack>,
        figure("mappings"), "mappings"},
       {"vmpte_each_small", "page tables, each of 256 KiB",
        "Each stack adds this much to the page tables.", cost_of_each<small_stack>,
        figure("bytes", bytes), "bytes"},
       {"made_under_data_limit", "made under RLIMIT_DATA of 64 MiB",
        "This many of 1,000 stacks of 8 MiB can be made under that limit.", enter_under_data_limit,
        figure("stacks"), "stacks"},
       {"data_reserved", "RLIMIT_DATA charge, reserved",
        "The stack adds this to VmData, which RLIMIT_DATA bounds.", watch_charges,
        figure("data_reserved", bytes), "bytes"},
       {"data_grown", "RLIMIT_DATA charge, 1 MiB deep", "The stack adds this to VmData.",
        watch_charges, figure("data_grown", bytes), "bytes"},
       {"data_trimmed", "RLIMIT_DATA charge, trimmed", "The stack adds this to VmData.",
        watch_charges, figure("data_trimmed", bytes), "bytes"},
       {"charged_reserved", "commit charge, reserved",
        "This much counts against the commit limit of the system (flag ac in /proc/self/smaps).",
        watch_charges, figure("charged_reserved", bytes), "bytes"},
       {"charged_grown", "commit charge, 1 MiB deep", "This much counts against the commit limit.",
        watch_charges, figure("charged_grown", bytes), "bytes"},
       {"charged_trimmed", "commit charge, trimmed", "This much counts against the commit limit.",
        watch_charges, figure("charged_trimmed", bytes), "bytes"},
       {"rss_trimmed", "resident, trimmed", "This much of the stack is in physical memory.",
        watch_charges, figure("rss_trimmed", bytes), "bytes"},
       {"free_of_stack_limit", "4 MiB deep, RLIMIT_STACK 1 MiB",
        "Code on a stack of 8 MiB goes 4 MiB deep under that limit.", grow_under_stack_limit, made},
       {"stays_trimmed", "stays trimmed when khugepaged looked",
        "Code was 4 MiB deep. What the trim gave back is still gone when khugepaged has looked at "
        "all memory twice. Tried with --slow only.",
        wait_for_khugepaged, stays_trimmed, yes_or_no, true}}};
}

}  // namespace growstack::compare::promises
