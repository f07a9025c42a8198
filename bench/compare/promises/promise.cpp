#include "promises/promise.hpp"

#include "parts/descent.hpp"
#include "subjects/subject.hpp"

#include <fmt/format.h>

#include <cmath>
#include <system_error>
#include <utility>

namespace growstack::compare::promises {

Cell yes(std::string word, std::string note) {
  return {.value = 1, .word = std::move(word), .note = std::move(note)};
}

Cell no(std::string word, std::string note) {
  return {.value = 0, .word = std::move(word), .note = std::move(note)};
}

Cell none(std::string note, std::string word) {
  return {.value = {}, .word = std::move(word), .note = std::move(note)};
}

Cell no_trim() { return none("there is no trim"); }

Cell number(double value, std::string note) {
  const bool is_whole = std::abs(value - std::round(value)) < 0.005;
  return {.value = value,
          .word = fmt::format("{:.{}f}", value, is_whole ? 0 : 2),
          .note = std::move(note)};
}

Cell bytes(double value, std::string note) {
  const bool in_mib = value >= static_cast<double>(mib);
  const double amount = value / static_cast<double>(in_mib ? mib : kib);
  const int digits = amount < 9.95 && std::fmod(amount, 1) != 0 ? 1 : 0;
  return {
      .value = value,
      .word = value <= 0 ? "0" : fmt::format("{:.{}f} {}", amount, digits, in_mib ? "MiB" : "KiB"),
      .note = std::move(note)};
}

Cell survival(const Fate& fate) {
  return fate.survived()        ? yes()
         : fate.failure.empty() ? no(fate.word())
                                : none(fate.failure, fate.word());
}

CellMaker if_survived(std::function<Cell(const nlohmann::json& said)> make) {
  return [make = std::move(make)](const Fate& fate) {
    return fate.survived() ? make(fate.said) : survival(fate);
  };
}

CellMaker figure(const char* name, Cell (*make)(double value, std::string note)) {
  return if_survived([=](const nlohmann::json& all) {
    return all.contains(name) ? make(all.at(name), all.value("note", "")) : no_trim();
  });
}

const std::vector<Family>& families() {
  static const std::vector<Family> all{promises_of_growth(), promises_to_system_calls(),
                                       promises_near_limit(), promises_at_overflow(),
                                       promises_of_memory()};
  return all;
}

std::vector<const Promise*> all_promises() {
  std::vector<const Promise*> all;
  for (const Family& family : families()) {
    for (const Promise& promise : family.promises) {
      all.push_back(&promise);
    }
  }
  return all;
}

std::unique_ptr<AnyStack> make(const std::string& subject, std::size_t reserve) {
  constexpr std::size_t kernel_gap = 2 * mib;  // MAP_GROWSDOWN keeps away from what lies below
  raise_limits_for_stacks(reserve + guard_bytes + kernel_gap);
  return make_stack(subject, {.reserve = reserve, .guard = guard_bytes});
}

Fate on_stack(const Question& question, const std::function<nlohmann::json(AnyStack& stack)>& body,
              void (*before)()) {
  return in_worker([&] {
    if (before != nullptr) {
      before();
    }
    const auto stack = make(question.subject);
    nlohmann::json said;
    stack->run([&] { said = body(*stack); });
    return said;
  });
}

void go_down(const AnyStack& stack, std::size_t bytes) { bench::descend(stack.base() - bytes); }

bool trim(AnyStack& stack) {
  const std::error_code error = stack.trim();
  if (error && error != std::errc::not_supported) {
    throw std::system_error(error, "trim");
  }
  return !error;
}

}  // namespace growstack::compare::promises
