// What the programs of this folder share: values out of the bytes that libFuzzer makes, and what is
// said when the library and the model disagree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

/// Before a function of a model that looks at very much: libFuzzer does not watch its branches,
/// which would take most of the time and tell nothing of the library.
#ifdef __clang__
#define GROWSTACK_UNWATCHED __attribute__((no_sanitize("coverage")))
#else
#define GROWSTACK_UNWATCHED
#endif

namespace growstack::inputs {

/// The bytes of one input. At its end all further values are 0.
class Input {
 public:
  Input(const std::uint8_t* bytes, std::size_t size) noexcept : next_(bytes), end_(bytes + size) {}

  [[nodiscard]] bool is_over() const noexcept { return next_ == end_; }

  /// Returns a number of that many bytes, up to 8.
  [[nodiscard]] std::uint64_t bytes(unsigned count = 8) noexcept {
    std::uint64_t number = 0;
    for (; count > 0; --count) {
      number = number << 8U | (is_over() ? 0U : *next_++);
    }
    return number;
  }

  [[nodiscard]] bool flag() noexcept { return (bytes(1) & 1U) != 0; }

  /// Returns a number from `least` to `most`, from as many bytes as it may need.
  [[nodiscard]] std::uint64_t from(std::uint64_t least, std::uint64_t most) noexcept {
    const std::uint64_t span = most - least;
    unsigned count = 1;
    while (count < 8 && span >> (8 * count) != 0) {
      ++count;
    }
    const std::uint64_t number = bytes(count);
    return span == UINT64_MAX ? number : least + number % (span + 1);
  }

  /// Returns a number from `least` to `most` of any magnitude: small ones are as frequent as large
  /// ones, and so are those beside a power of two.
  [[nodiscard]] std::uint64_t magnitude(std::uint64_t least, std::uint64_t most) noexcept {
    const std::uint64_t kind = bytes(1);
    const unsigned power = static_cast<unsigned>(kind % 64);
    const std::uint64_t edge = std::uint64_t{1} << power;
    const std::uint64_t number = kind < 64    ? edge
                                 : kind < 128 ? edge - 1
                                 : kind < 192 ? edge + from(0, edge - 1)
                                              : most - edge;
    return number < least || number > most ? from(least, most) : number;
  }

  template <class Value>
  [[nodiscard]] Value one_of(std::initializer_list<Value> values) noexcept {
    return *(values.begin() + from(0, values.size() - 1));
  }

  [[nodiscard]] std::string_view text(std::size_t most) noexcept {
    const std::size_t wished = from(0, most);
    const auto left = static_cast<std::size_t>(end_ - next_);
    const std::size_t length = wished < left ? wished : left;
    const std::string_view found(reinterpret_cast<const char*>(next_), length);
    next_ += length;
    return found;
  }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

/// Each program defines it: tries one input, and calls require() or require_equal().
void try_input(Input& input);

/// Ends the process, and says what was promised, unless it is so.
void require(bool is_so, const char* promise) noexcept;

/// The same for two numbers.
void require_equal(std::uint64_t found, std::uint64_t expected, const char* promise) noexcept;

/// The same for two texts.
void require_equal(std::string_view found, std::string_view expected, const char* promise) noexcept;

}  // namespace growstack::inputs
