#include "run/residency.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace growstack::compare {
namespace {

std::uint64_t kilobytes(const std::string& line) {
  return std::stoull(line.substr(line.find(':') + 1)) * 1024;
}

bool has_flag(const std::string& line, std::string_view flag) {
  return (line + " ").find(" " + std::string(flag) + " ") != std::string::npos;
}

}  // namespace

Residency residency(std::uintptr_t begin, std::uintptr_t end) {
  std::ifstream smaps("/proc/self/smaps");
  if (!smaps) {
    throw std::runtime_error("cannot read /proc/self/smaps");
  }
  Residency sum;
  std::uint64_t overlap = 0;  // of the mapping that the lines are about
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t first = 0;
    std::uintptr_t last = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2) {
      overlap = first < end && begin < last ? std::min(last, end) - std::max(first, begin) : 0;
      sum.mapped += overlap;
    } else if (overlap == 0) {
      continue;
    } else if (line.starts_with("Rss:")) {
      sum.resident += kilobytes(line);
    } else if (line.starts_with("Private_Dirty:") || line.starts_with("Shared_Dirty:")) {
      sum.dirty += kilobytes(line);
    } else if (line.starts_with("VmFlags:") && has_flag(line, "ac")) {
      sum.charged += overlap;
    }
  }
  return sum;
}

}  // namespace growstack::compare
