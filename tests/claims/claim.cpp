#include "claims/claim.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace growstack::testing {
namespace {

struct Source {
  std::string_view letter;
  std::string_view title;
};

constexpr std::array<Source, 5> sources{{
    {"P", "hiboma, \"pthread のスタックサイズについて\" (CentOS 4 to 6)"},
    {"M", "hiboma, \"madvise, MADV_DONTNEED\""},
    {"R", "\"Musings on realtime\", 26 July 2007 (Solaris 10)"},
    {"S", "Stack Overflow, \"Stack allocation for C++ green threads\""},
    {"L", "\"进程如何使用内存\" (Linux 5.4 to 6.1, glibc)"},
}};

std::vector<Claim>& registered() {
  static std::vector<Claim> all;
  return all;
}

int verdicts = 0;

}  // namespace

std::string_view name(Verdict verdict) {
  switch (verdict) {
    case Verdict::holds:
      return "holds";
    case Verdict::no_longer:
      return "no longer";
    case Verdict::never_did:
      return "never did";
  }
  return "?";
}

RegisteredClaim::RegisteredClaim(const Claim& claim) { registered().push_back(claim); }

std::vector<Claim> claims() {
  std::vector<Claim> all = registered();
  std::sort(all.begin(), all.end(),
            [](const Claim& a, const Claim& b) { return a.number < b.number; });
  return all;
}

std::string test_name(const Claim& claim) {
  return fmt::format("{:02} {}", claim.number, claim.sentence);
}

void found_in_words(Verdict verdict, const std::string& measured) {
  ++verdicts;
  std::printf("%s%s\n%s%s\n", verdict_line.data(), name(verdict).data(), measured_line.data(),
              measured.c_str());
}

void put_on_trial(void (*body)()) {
  verdicts = 0;
  body();
  CHECK_MESSAGE((verdicts == 1 || (verdicts == 0 && skipped())),
                "a claim needs one verdict, or a reason why there is none");
}

}  // namespace growstack::testing

using namespace growstack::testing;

TEST_CASE("all 43 claims are on trial, each once") {
  int next = 1;
  for (const Claim& each : claims()) {
    CHECK(each.number == next);
    ++next;
  }
  CHECK(next == 44);
}

// What claims_table reads: a line for each, with its fields separated by tabs.

GROWSTACK_SCENARIO("claims") {
  for (const Claim& each : claims()) {
    fmt::print("{}\t{}\t{}\t{}\t{}\t{}\n", each.number, each.sources, each.words, test_name(each),
               each.file, each.line);
  }
  return 0;
}

GROWSTACK_SCENARIO("sources") {
  for (const Source& each : sources) {
    fmt::print("{}\t{}\n", each.letter, each.title);
  }
  return 0;
}
