#include "real/programs.hpp"

#include <rapidjson/document.h>

#include <array>
#include <regex>
#include <stdexcept>

namespace growstack::compare {
namespace {

/// libstdc++ matches by recursion, two or three frames for each letter.
Program regex_match(std::size_t size) {
  std::string text;
  for (std::size_t letter = 0; letter < size; ++letter) {
    text += letter % 2 == 0 ? 'a' : 'b';
  }
  return [text, pattern = std::regex("(a|b)*c?")] { return std::regex_match(text, pattern); };
}

/// RapidJSON parses by recursion unless told otherwise (kParseIterativeFlag). The document frees
/// its memory as one pool, without a second recursion.
Program json_parse(std::size_t size) {
  return [size, text = std::string(size, '[') + std::string(size, ']')] {
    rapidjson::Document document;
    document.Parse(text.c_str());
    std::size_t depth = 1;
    for (const rapidjson::Value* at = &document; at->IsArray() && !at->Empty(); at = &(*at)[0]) {
      ++depth;
    }
    return !document.HasParseError() && depth == size;
  };
}

constexpr std::array all{ProgramDescription{"regex", "letters matched by std::regex", regex_match},
                         ProgramDescription{"json", "levels parsed by RapidJSON", json_parse}};

}  // namespace

std::span<const ProgramDescription> programs() { return all; }

const ProgramDescription& program_named(const std::string& name) {
  for (const ProgramDescription& each : all) {
    if (each.name == name) {
      return each;
    }
  }
  throw std::invalid_argument("no program of the name " + name);
}

}  // namespace growstack::compare
