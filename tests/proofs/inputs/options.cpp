// validated() against a table of what it accepts, with the message for each refusal.
#include "input.hpp"

#include "arenas/validated_options.hpp"

#include <bit>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <system_error>

namespace growstack::inputs {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::size_t page = 4096;
constexpr std::size_t largest = std::size_t{64} << 40;
constexpr std::size_t huge_page = std::size_t{2} << 20;

std::string as_text(std::size_t bytes) {
  const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  for (unsigned unit = 4;; --unit) {
    const std::size_t size = std::size_t{1} << (10 * unit);
    if (unit == 0 || (bytes != 0 && bytes % size == 0)) {
      return std::to_string(bytes / size) + " " + units[unit];
    }
  }
}

std::size_t rounded(std::size_t bytes) {
  return static_cast<std::size_t>((Wide{bytes} + page - 1) / page * page);
}

struct Range {
  const char* name;
  std::size_t value;
  std::size_t least;
  std::size_t most;
  const char* after;
};

std::optional<std::string> refusal_of_range(const Range& range) {
  if (range.least <= range.value && range.value <= range.most) {
    return std::nullopt;
  }
  const std::string allowed =
      (range.least == 1 ? "from 1 byte to " : "at most ") + as_text(range.most);
  return std::string(range.name) + " must be " + allowed + (range.least == 0 ? range.after : "") +
         ", not " + as_text(range.value) + (range.least == 1 ? range.after : "");
}

/// Returns the message of the first rule that the options break, in the order of the members.
std::optional<std::string> refusal_of(const StackOptions& options) {
  const GrowthPolicy& policy = options.policy;
  if (static_cast<unsigned>(options.strategy) > static_cast<unsigned>(Strategy::automatic)) {
    return "StackOptions::strategy is none of the enumeration";
  }
  for (const Range& range :
       {Range{"StackOptions::reserve", options.reserve, 1, largest, ""},
        Range{"StackOptions::guard", options.guard, 1, largest,
              ": a stack without a guard corrupts memory"},
        Range{"StackOptions::core_depth", options.core_depth, 1, largest, ""}}) {
    if (auto refusal = refusal_of_range(range)) {
      return refusal;
    }
  }
  if (std::isnan(policy.factor) || policy.factor < 1 || policy.factor > 16) {
    char text[400];
    static_cast<void>(std::snprintf(text, sizeof text, "%f", policy.factor));
    return std::string("GrowthPolicy::factor must be from 1 to 16, not ") + text;
  }
  if (policy.least_step < 1 || policy.largest_step < policy.least_step ||
      policy.largest_step > largest) {
    return "GrowthPolicy::least_step must be at least 1 byte and at most largest_step, which is at "
           "most 64 TiB";
  }
  for (const Range& range :
       {Range{"GrowthPolicy::initial_commit", policy.initial_commit, 1, largest, ""},
        Range{"GrowthPolicy::headroom", policy.headroom, 0, largest, ""},
        Range{"GrowthPolicy::huge_from", policy.huge_from, 0, huge_page, " (0: never)"}}) {
    if (auto refusal = refusal_of_range(range)) {
      return refusal;
    }
  }
  return std::nullopt;
}

void check_accepted(const StackOptions& options, const StackOptions& found) {
  const GrowthPolicy& policy = found.policy;
  require_equal(found.reserve, rounded(options.reserve), "the reserve is in whole pages");
  require_equal(found.guard, rounded(options.guard), "the guard is in whole pages");
  require_equal(found.core_depth, rounded(options.core_depth), "the depth of cores is, too");
  require_equal(policy.least_step, rounded(options.policy.least_step), "so is the least step");
  require_equal(policy.largest_step, rounded(options.policy.largest_step), "and the largest step");
  require_equal(policy.huge_from, rounded(options.policy.huge_from), "and where huge pages begin");
  require_equal(policy.initial_commit,
                std::min(rounded(options.policy.initial_commit), rounded(options.reserve)),
                "the initial commit is in whole pages, and not more than the stack");
  require(policy.headroom == options.policy.headroom && policy.factor == options.policy.factor &&
              found.strategy == options.strategy && found.name == options.name,
          "the rest is as it was");
}

}  // namespace

void try_input(Input& input) {
  const auto size = [&] { return input.magnitude(0, UINT64_MAX); };
  StackOptions options;
  // Most fields keep their defaults, so that each rule is reached.
  const std::uint64_t changed = input.bytes(2);
  const auto change = [&](unsigned bit, std::size_t& field) {
    if ((changed >> bit & 1U) != 0) {
      field = size();
    }
  };
  change(0, options.reserve);
  change(1, options.guard);
  change(2, options.core_depth);
  change(3, options.policy.initial_commit);
  change(4, options.policy.least_step);
  change(5, options.policy.largest_step);
  change(6, options.policy.headroom);
  change(7, options.policy.huge_from);
  if ((changed >> 8 & 1U) != 0) {
    options.policy.factor = std::bit_cast<double>(input.bytes());
  }
  options.strategy = static_cast<Strategy>(changed >> 9U);

  const std::optional<std::string> refusal = refusal_of(options);
  try {
    const StackOptions found = validated(options);
    require(!refusal, "what is out of range is refused");
    check_accepted(options, found);
  } catch (const std::system_error& error) {
    require(error.code() == std::errc::invalid_argument, "a refusal is EINVAL");
    require_equal(std::string(error.what()),
                  "growstack: " + refusal.value_or("(nothing)") + ": " + error.code().message(),
                  "a refusal names the option, its range and its value");
  }
}

}  // namespace growstack::inputs
