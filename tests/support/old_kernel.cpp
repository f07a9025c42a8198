// old_kernel [feature...] -- command: runs a command as on a kernel that does not have these
// features, or in a container that forbids them. Without a list all features are taken away.
#include "support/old_kernel.hpp"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <string_view>

namespace {

using growstack::testing::InjectedError;

struct Feature {
  std::string_view name;
  void (*take_away)(InjectedError&);
};
constexpr std::array<Feature, 5> features{{
    {"guard_markers", growstack::testing::without_guard_markers},
    {"userfaultfd", growstack::testing::without_userfaultfd},
    {"locked_memory", growstack::testing::without_locked_memory},
    {"huge_pages", growstack::testing::without_huge_pages},
    {"pagemap_scan", growstack::testing::without_pagemap_scan},
}};

bool take_away(std::string_view name) {
  InjectedError injected = InjectedError::for_good();
  for (const Feature& feature : features) {
    if (feature.name == name) {
      feature.take_away(injected);
      return true;
    }
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  int at = 1;
  for (; at < argc && std::string_view(argv[at]) != "--"; ++at) {
    if (!take_away(argv[at])) {
      std::fprintf(stderr, "old_kernel: there is no feature \"%s\"\n", argv[at]);
      return 2;
    }
  }
  if (at + 1 >= argc) {
    std::fputs("usage: old_kernel [feature...] -- command\n", stderr);
    return 2;
  }
  for (std::size_t index = 0; at == 1 && index < features.size(); ++index) {
    take_away(features[index].name);
  }
  execvp(argv[at + 1], argv + at + 1);
  std::perror(argv[at + 1]);
  return 127;
}
