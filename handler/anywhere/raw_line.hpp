// A line of text that is put together without allocation or stdio, and written at once. Signal
// handlers included.
#pragma once

#include "anywhere/standard_error.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace growstack::handler {

/// What does not fit is left out.
class RawLine {
 public:
  RawLine& operator<<(std::string_view text) noexcept {
    for (const char letter : text) {
      put(letter);
    }
    return *this;
  }

  RawLine& operator<<(std::uint64_t number) noexcept { return digits(number, 10); }

  /// Adds an address, as 0x...
  RawLine& address(std::uintptr_t value) noexcept {
    *this << "0x";
    return digits(value, 16);
  }

  /// Writes the line, with its newline, to standard error, and empties it. Returns as
  /// write_to_standard_error() does.
  [[nodiscard]] bool write_to_stderr() noexcept {
    text_[length_++] = '\n';
    const bool written = write_to_standard_error({text_.data(), length_});
    length_ = 0;
    return written;
  }

 private:
  static constexpr std::size_t capacity = 512;

  void put(char letter) noexcept {
    if (length_ < capacity - 1) {  // one place is kept for the newline
      text_[length_++] = letter;
    }
  }

  RawLine& digits(std::uint64_t number, unsigned radix) noexcept {
    std::array<char, 20> reversed{};
    std::size_t count = 0;
    do {
      reversed[count++] = "0123456789abcdef"[number % radix];
      number /= radix;
    } while (number != 0);
    while (count > 0) {
      put(reversed[--count]);
    }
    return *this;
  }

  std::array<char, capacity> text_;
  std::size_t length_ = 0;
};

}  // namespace growstack::handler
