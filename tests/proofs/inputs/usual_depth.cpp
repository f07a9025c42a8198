// UsualDepth and apportion() against models that keep each tenancy, where they keep counts.
#include "input.hpp"

#include "pool/usual_depth.hpp"

#include <algorithm>
#include <optional>
#include <vector>

namespace growstack::inputs {
namespace {

__extension__ using Wide = unsigned __int128;

/// Of tenancies, each told by its depth or by nothing if it stayed, returns the depth within which
/// seven of eight stayed.
std::size_t depth_of_seven_in_eight(const std::vector<std::optional<std::size_t>>& tenancies) {
  for (std::size_t depth = 0;; ++depth) {
    const auto beyond = std::count_if(tenancies.begin(), tenancies.end(),
                                      [&](const auto& each) { return each && *each > depth; });
    if (static_cast<std::size_t>(beyond) * 8 <= tenancies.size()) {
      return depth;
    }
  }
}

struct Model {
  std::size_t least;
  std::size_t usual = least;
  std::uint64_t score = 0;
  std::vector<std::optional<std::size_t>> run{};  ///< since the score was 0; those that stayed
  std::vector<std::optional<std::size_t>> samples_now{};
  std::vector<std::optional<std::size_t>> samples_before{};
  bool any_now = false;
  bool any_before = false;

  void stay() {
    any_now = true;
    run.emplace_back();
    score = score == 0 ? 0 : score - 1;
    if (score == 0) {
      run.clear();
    }
  }
  void go_beyond(std::size_t depth) {
    any_now = true;
    run.emplace_back(depth);
    score += 7;
  }
  void rise() {
    usual = std::max(usual, depth_of_seven_in_eight(run));
    samples_now.clear();
    samples_before.clear();
    score = 0;
    run.clear();
    any_now = true;
  }
  [[nodiscard]] std::vector<std::optional<std::size_t>> samples() const {
    auto all = samples_before;
    all.insert(all.end(), samples_now.begin(), samples_now.end());
    return all;
  }
  void follow_samples() {
    if (const auto all = samples(); all.size() >= 8) {
      usual = std::max(least, depth_of_seven_in_eight(all));
    }
  }
  void end_interval() {
    if (!any_now && !any_before) {
      usual = least;
    } else if (samples().size() < 8) {
      usual = std::max(least, usual - 1);
    }
    samples_before = samples_now;
    samples_now.clear();
    any_before = any_now;
    any_now = false;
  }
};

void try_sequence(Input& input) {
  const std::size_t least = input.from(1, 40);
  UsualDepth found(least);
  Model model{.least = least};
  while (!input.is_over()) {
    const std::size_t depth = input.from(0, UsualDepth::powers - 1);
    switch (input.from(0, 7)) {
      case 0: {
        const std::uint64_t tenancies = input.from(0, 40);
        found.count_stayed(tenancies);
        for (std::uint64_t count = 0; count < tenancies; ++count) {
          model.stay();
        }
        break;
      }
      case 1:
      case 2:
        found.count_beyond(depth);
        model.go_beyond(depth);
        break;
      case 3:
        found.count_sample(depth);
        model.samples_now.emplace_back(depth);
        break;
      case 4:
        if (model.score >= 56) {
          found.rise();
          model.rise();
        }
        break;
      case 5:
        found.follow_samples();
        model.follow_samples();
        break;
      case 6:
        found.end_interval();
        model.end_interval();
        break;
      default:
        if (input.from(0, 7) == 0) {
          found.forget();
          model = Model{.least = least};
        }
    }
    require(found.wants_to_rise() == (model.score >= 56),
            "eight tenancies more than one in eight want to rise");
    require_equal(found.usual(), model.usual, "the usual depth is that of seven in eight");
    require(found.knows_enough() == (model.samples().size() >= 8), "eight samples are enough");
    UsualDepth::Counts samples{};
    for (const auto& each : model.samples()) {
      ++samples[*each];
    }
    require(found.samples() == samples, "samples are those of this interval and the last one");
  }
}

void try_parts(Input& input) {
  UsualDepth::Counts weights{};
  std::uint64_t sum = 0;
  const std::uint64_t count = input.magnitude(0, UINT64_MAX);
  for (std::uint64_t& weight : weights) {
    weight = input.is_over() ? 0 : input.magnitude(0, UINT32_MAX - sum - 1);
    sum += weight;
  }
  if (sum == 0) {
    return;
  }
  const UsualDepth::Counts parts = apportion(count, weights);
  Wide all = 0;
  std::optional<Wide> least_rounded_up;
  Wide largest_rounded_down = 0;
  for (std::size_t index = 0; index < parts.size(); ++index) {
    const Wide exact = Wide{count} * weights[index];
    const auto whole = static_cast<std::uint64_t>(exact / sum);
    const Wide remainder = exact % sum;
    all += parts[index];
    require(parts[index] == whole || (parts[index] == whole + 1 && remainder > 0),
            "a part is what is due to it, rounded down or up");
    if (parts[index] == whole) {
      largest_rounded_down = std::max(largest_rounded_down, remainder);
    } else {
      least_rounded_up = std::min(least_rounded_up.value_or(remainder), remainder);
    }
  }
  require(all == count, "the parts are all there is");
  require(least_rounded_up.value_or(sum) >= largest_rounded_down,
          "the largest remainders are rounded up");
}

}  // namespace

void try_input(Input& input) {
  if (input.from(0, 3) == 0) {
    return try_parts(input);
  }
  try_sequence(input);
}

}  // namespace growstack::inputs
