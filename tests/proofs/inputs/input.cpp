// The entry that libFuzzer calls, and the end if a promise is broken.
#include "input.hpp"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>

namespace growstack::inputs {
namespace {

[[noreturn]] void end(const char* promise) noexcept {
  static_cast<void>(std::fprintf(stderr, "BROKEN: %s\n", promise));
  std::abort();
}

}  // namespace

void require(bool is_so, const char* promise) noexcept {
  if (!is_so) {
    end(promise);
  }
}

void require_equal(std::uint64_t found, std::uint64_t expected, const char* promise) noexcept {
  if (found != expected) {
    static_cast<void>(std::fprintf(stderr, "found %#" PRIx64 ", and the model has %#" PRIx64 "\n",
                                   found, expected));
    end(promise);
  }
}

void require_equal(std::string_view found, std::string_view expected,
                   const char* promise) noexcept {
  if (found != expected) {
    static_cast<void>(std::fprintf(stderr, "found    \"%.*s\"\nexpected \"%.*s\"\n",
                                   static_cast<int>(found.size()), found.data(),
                                   static_cast<int>(expected.size()), expected.data()));
    end(promise);
  }
}

}  // namespace growstack::inputs

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  growstack::inputs::Input input(bytes, size);
  growstack::inputs::try_input(input);
  return 0;
}
