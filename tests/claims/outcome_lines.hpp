// Lines by which the test of a claim tells its outcome to claims_table.
#pragma once

#include <string_view>

namespace growstack::testing {

inline constexpr std::string_view verdict_line = "VERDICT: ";
inline constexpr std::string_view measured_line = "MEASURED: ";

}  // namespace growstack::testing
