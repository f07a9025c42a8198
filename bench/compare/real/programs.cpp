#include "real/programs.hpp"

#include <rapidjson/document.h>

#include <array>
#include <regex>
#include <stdexcept>

namespace growstack::compare {
namespace {

/// libstdc++ matches by recursion, two or three frames for each letter.
class RegexMatch final : public Program {
 public:
  explicit RegexMatch(std::size_t size) {
    for (std::size_t letter = 0; letter < size; ++letter) {
      text_ += letter % 2 == 0 ? 'a' : 'b';
    }
  }
  bool run() override { return std::regex_match(text_, pattern_); }

 private:
  std::string text_;
  std::regex pattern_{"(a|b)*c?"};
};

/// RapidJSON parses by recursion unless told otherwise (kParseIterativeFlag).
class JsonParse final : public Program {
 public:
  explicit JsonParse(std::size_t size)
      : size_(size), text_(std::string(size, '[') + std::string(size, ']')) {}

  /// The document frees its memory as one pool, without a second recursion.
  bool run() override {
    rapidjson::Document document;
    document.Parse(text_.c_str());
    return !document.HasParseError() && depth_of(document) == size_;
  }

 private:
  static std::size_t depth_of(const rapidjson::Value& outermost) {
    std::size_t depth = 1;
    for (const rapidjson::Value* at = &outermost; at->IsArray() && !at->Empty(); at = &(*at)[0]) {
      ++depth;
    }
    return depth;
  }

  std::size_t size_;
  std::string text_;
};

template <class T>
std::unique_ptr<Program> make(std::size_t size) {
  return std::make_unique<T>(size);
}

constexpr std::array all{
    ProgramDescription{"regex", "letters matched by std::regex", make<RegexMatch>},
    ProgramDescription{"json", "levels parsed by RapidJSON", make<JsonParse>}};

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
