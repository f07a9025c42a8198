#include "run/session.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>

namespace growstack::compare {

Session::Session(Options options, std::vector<Subject> subjects, Progress& progress)
    : options_(std::move(options)), subjects_(std::move(subjects)), progress_(progress) {}

bool Session::includes(std::string_view name) const {
  return options_.only.empty() ||
         std::find(options_.only.begin(), options_.only.end(), name) != options_.only.end();
}

template <class Condition>
std::vector<Subject> Session::included(const Condition& condition) const {
  std::vector<Subject> chosen;
  std::copy_if(subjects_.begin(), subjects_.end(), std::back_inserter(chosen),
               [&](const Subject& each) { return includes(each.name) && condition(each); });
  return chosen;
}

std::vector<Subject> Session::strategies(Trait takes_part) const {
  return included([&](const Subject& each) {
    return each.strategy && (takes_part == nullptr || is_strategy(each.name, takes_part));
  });
}

std::vector<Subject> Session::stacks() const {
  return included([](const Subject& each) { return each.makes_stacks; });
}

std::optional<Subject> Session::peer(std::string_view name) const {
  const std::vector<Subject> found =
      included([&](const Subject& each) { return each.name == name; });
  return found.empty() ? std::nullopt : std::optional(found.front());
}

std::string Session::lacking(Strategy strategy) const {
  const auto found = std::find_if(subjects_.begin(), subjects_.end(),
                                  [&](const Subject& each) { return each.strategy == strategy; });
  return found != subjects_.end() ? found->lacking : std::string();
}

unsigned Session::rounds(unsigned full, unsigned quick) const {
  return options_.rounds.value_or(options_.quick ? quick : full);
}

std::size_t Session::stacks_at_once(std::size_t full, std::size_t quick) const {
  const std::size_t wished = options_.quick ? quick : full;
  return std::min(wished, options_.most_stacks.value_or(wished));
}

void Session::print_title(std::string_view title, std::string_view what) {
  progress_.clear();
  fmt::print("\n{}\n{}\n\n", title, folded(what));
}

void Session::print(const Table& table) {
  progress_.clear();
  fmt::print("{}", table.text());
}

void Session::print_sentences(const std::vector<std::string>& sentences) {
  fmt::print("\n");
  for (const std::string& each : sentences) {
    fmt::print("{}\n", folded(each, 2));
  }
  std::fflush(stdout);
}

}  // namespace growstack::compare
