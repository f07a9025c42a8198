// Account against two numbers that cannot overflow.
#include "input.hpp"

#include "memory/account.hpp"

#include <algorithm>
#include <optional>
#include <string>

namespace growstack::inputs {
namespace {

__extension__ using Wide = __int128;

struct Model {
  Wide used = 0;
  Wide budget = 0;

  [[nodiscard]] Wide left() const { return std::max<Wide>(0, budget - used); }
  [[nodiscard]] bool has_plenty() const { return used <= budget / 5; }
};

}  // namespace

void try_input(Input& input) {
  const auto bytes = [&] { return input.magnitude(0, UINT64_MAX); };
  const std::size_t budget = bytes();
  Account whole("the whole", nullptr, budget);
  Model of_whole{.budget = budget};
  const std::size_t part_budget = bytes();
  Account part("the part", &whole, part_budget);
  Model of_part{.budget = part_budget};
  while (!input.is_over()) {
    const std::size_t amount = bytes();
    switch (input.from(0, 5)) {
      case 0:
        whole.set_budget(amount);
        of_whole.budget = amount;
        break;
      case 1:
        part.set_budget(amount);
        of_part.budget = amount;
        break;
      case 2: {
        const auto credited = static_cast<std::size_t>(std::min<Wide>(amount, of_part.used));
        part.credit(credited);
        of_part.used -= credited;
        of_whole.used -= credited;
        break;
      }
      case 3: {  // charged, and credited again unless it is kept
        const bool keeps = input.flag();
        const bool fits = amount <= std::min(of_part.left(), of_whole.left());
        {
          Charge charge(part, amount);
          require(charge.is_held() == fits, "a charge is held if it fits");
          if (keeps && charge.is_held()) {
            charge.keep();
          }
        }
        if (keeps && fits) {
          of_part.used += amount;
          of_whole.used += amount;
        }
        break;
      }
      case 4: {  // somebody else
        const bool fits = amount <= of_whole.left();
        require(whole.charge(amount) == fits, "who asks for bytes that are left gets them");
        of_whole.used += fits ? amount : 0;
        break;
      }
      default: {
        const bool fits = amount <= std::min(of_part.left(), of_whole.left());
        require(part.charge(amount) == fits, "nobody is charged beyond a budget");
        of_part.used += fits ? amount : 0;
        of_whole.used += fits ? amount : 0;
      }
    }
    require(part.used() == of_part.used && whole.used() == of_whole.used,
            "all that is charged to the part is charged to the whole");
    require(part.left() == std::min(of_part.left(), of_whole.left()), "the less of both is left");
    require(whole.left() == of_whole.left(), "the whole knows what is left of it");
    require(part.has_plenty() == (of_part.has_plenty() && of_whole.has_plenty()),
            "plenty is four fifths, of both");
    if (input.from(0, 31) == 0) {
      const bool is_whole = of_whole.left() < of_part.left();
      require(part.explanation().starts_with(is_whole ? "the whole is " : "the part is "),
              "the budget that leaves less is named");
    }
  }
}

}  // namespace growstack::inputs
