// The measuring half of the growth group, in a process of its own.
#include "growth/depths.hpp"
#include "run/group.hpp"
#include "subjects/any_stack.hpp"

#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "parts/turns.hpp"

#include <fmt/format.h>

#include <growstack/handler/pages.hpp>

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <system_error>

namespace growstack::compare {
namespace {

constexpr std::size_t guard = 64 * kibibyte;

struct Contender {
  std::string name;
  std::string subject;  // what it is: some take part twice
  GrowthPolicy policy{};
  std::vector<double> nanoseconds{};
  std::uint64_t faults = 0;
  std::string refusal{};
};

/// malloc would give the memory of the stack before again, with its pages: the others' stacks are
/// fresh, so these must be.
void make_malloc_forget() {
  constexpr int threshold =
      128 * 1024;  // the usual one, but when set it stays: every stack here is larger
  if (mallopt(M_MMAP_THRESHOLD, threshold) != 1) {
    throw std::runtime_error("mallopt refused M_MMAP_THRESHOLD");
  }
}

/// Of the stack that a thread had which ended, glibc gives all but the first pages back, and lets
/// the next thread have it.
void give_back_what_glibc_kept(const AnyStack& stack) {
  constexpr std::uintptr_t room = 512;  // more than this function and madvise take
  const std::uintptr_t below =
      handler::page_down(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) - room);
  if (madvise(reinterpret_cast<void*>(stack.floor()), below - stack.floor(), MADV_DONTNEED) != 0) {
    throw std::system_error(errno, std::generic_category(), "madvise");
  }
}

std::size_t reserve_for(const Contender& contender, std::size_t bytes) {
  return contender.policy == GrowthPolicy() ? bytes + beyond
                                            : std::max(bytes + beyond, least_for_huge_pages);
}

/// What the stack will take: small pages, and below them whole huge ones. Rounded up to these, for
/// the kernel does not align a mapping of another size.
void warm_for(const Contender& contender, std::size_t bytes) {
  const bench::Pages pages = pages_taken_by(contender.subject, bytes, contender.policy);
  const auto in_huge_pages = [](std::size_t size) {
    return (size + huge_page - 1) / huge_page * huge_page;
  };
  const std::size_t in_small_pages = contender.policy.huge_from;
  bench::touch_and_free(pages == bench::Pages::single
                            ? bytes
                            : in_huge_pages(in_small_pages + in_huge_pages(bytes - in_small_pages)),
                        pages);
}

/// One fresh stack to the depth, in nanoseconds. Making and releasing it is not in the time; the
/// switch to it neither.
double grow_once(Contender& contender, std::size_t bytes) {
  const auto stack = make_stack(
      contender.subject,
      {.reserve = reserve_for(contender, bytes), .guard = guard, .policy = contender.policy});
  warm_for(contender, bytes);
  std::chrono::duration<double, std::nano> taken{};
  stack->run([&] {
    if (contender.subject == glibc_thread_name) {
      give_back_what_glibc_kept(*stack);
    }
    const std::uintptr_t lowest = stack->base() - bytes;
    const auto before = std::chrono::steady_clock::now();
    bench::descend(lowest);
    taken = std::chrono::steady_clock::now() - before;
  });
  contender.faults = stack->growth_events();
  return taken.count();
}

/// The mean of a few stacks, in nanoseconds.
double grow_some(Contender& contender, std::size_t bytes) {
  const unsigned stacks = stacks_per_sample(bytes);
  double sum = 0;
  for (unsigned each = 0; each < stacks; ++each) {
    sum += grow_once(contender, bytes);
  }
  return sum / stacks;
}

std::vector<Contender> contenders_at(const Depth& depth, const std::vector<std::string>& subjects) {
  std::vector<Contender> all;
  for (const std::string& name : subjects) {
    all.push_back({.name = name,
                   .subject = name == again_name ? std::string(growstack::name(baseline)) : name});
    if (depth.under_throughput && grows_in_huge_pages(name)) {
      all.push_back(
          {.name = throughput_name(name), .subject = name, .policy = GrowthPolicy::throughput()});
    }
  }
  return all;
}

const Contender* find(const std::vector<Contender>& contenders, std::string_view name) {
  const auto found = std::find_if(contenders.begin(), contenders.end(),
                                  [&](const Contender& each) { return each.name == name; });
  return found != contenders.end() ? &*found : nullptr;
}

/// `huge`: demand_paging_huge, where it is to be compared with that, too; or none.
nlohmann::json result_of(const Contender& contender, const Contender& base, const Contender* huge) {
  if (!contender.refusal.empty()) {
    return {{"refusal", contender.refusal}};
  }
  nlohmann::json result{{"ns", bench::median(contender.nanoseconds)}, {"faults", contender.faults}};
  if (const auto ratio = bench::median_ratio(contender.nanoseconds, base.nanoseconds)) {
    result["ratio"] = *ratio;
  }
  const auto to_huge = huge != nullptr
                           ? bench::median_ratio(contender.nanoseconds, huge->nanoseconds)
                           : std::optional<double>();
  if (to_huge) {
    result["to_huge"] = *to_huge;
  }
  return result;
}

}  // namespace

/// {"subjects": [...], "rounds": n} to {name: {depth: {"ns", "faults", "ratio", "to_huge"} or
/// {"refusal"}}}: of the subjects, the baseline is one of them, and of those that throughput_name
/// names. "to_huge" where demand_paging_huge takes part.
nlohmann::json measure_growth(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(deepest_reserve);
  make_malloc_forget();
  const unsigned rounds = request.at("rounds");
  std::mt19937 order;  // the same orders every time
  nlohmann::json results;
  for (const Depth& depth : depths) {
    std::vector<Contender> contenders = contenders_at(depth, request.at("subjects"));
    bench::warm_memory(2 * deepest_reserve);
    // Once without counting.
    bench::take_turns(contenders, order,
                      [&](Contender& contender) { grow_some(contender, depth.bytes); });
    const unsigned rounds_here = rounds_at(depth, rounds);
    for (unsigned round = 0; round < rounds_here; ++round) {
      progress.say(fmt::format("growth: {:>6} deep, {} rounds,", depth.label, rounds_here), round,
                   rounds_here);
      bench::take_turns(contenders, order, [&](Contender& contender) {
        contender.nanoseconds.push_back(grow_some(contender, depth.bytes));
      });
    }
    const Contender& base = *find(contenders, name(baseline));
    const Contender* const huge = depth.beside_huge ? find(contenders, huge_name) : nullptr;
    for (const Contender& contender : contenders) {
      results[contender.name][depth.label] =
          result_of(contender, base, grows_in_huge_pages(contender.name) ? huge : nullptr);
    }
  }
  return results;
}

}  // namespace growstack::compare
