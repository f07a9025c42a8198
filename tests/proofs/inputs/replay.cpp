// The seeds without libFuzzer, so that any compiler can try them: inputs that reach all that was
// reached so far, and those that showed a fault.
#include "input.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

TEST_CASE("the seeds keep every promise") {
  std::size_t seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator(GROWSTACK_SEEDS)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
    growstack::inputs::Input input(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                   bytes.size());
    growstack::inputs::try_input(input);
    ++seeds;
  }
  CHECK(seeds > 0);
}
