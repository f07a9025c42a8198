// For programs that check what growstack_compare wrote with --json.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace growstack::compare {

/// main() of a program whose one argument is that file: check(rows) returns its exit code.
template <class Check>
int check_result_file(const char* program, int argc, char** argv, const Check& check) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FILE\n", program);
    return EXIT_FAILURE;
  }
  std::ifstream file(argv[1]);
  const auto rows = nlohmann::json::parse(file, nullptr, false);
  if (!rows.is_array()) {
    std::fprintf(stderr, "%s is no JSON array\n", argv[1]);
    return EXIT_FAILURE;
  }
  return check(rows);
}

}  // namespace growstack::compare
