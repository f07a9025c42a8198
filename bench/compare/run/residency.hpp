// What the kernel says about a piece of address space, as pmap(1) shows it.
#pragma once

#include <cstdint>

namespace growstack::compare {

/// Bytes.
struct Residency {
  std::uint64_t mapped = 0;    ///< pmap's Kbytes: of the range itself
  std::uint64_t resident = 0;  ///< RSS: pages that have memory
  std::uint64_t dirty = 0;     ///< of these, written to
  std::uint64_t charged =
      0;  ///< counted against the commit limit (VmFlags "ac"): of the range itself
};

/// Sums over the mappings in [begin, end) (/proc/self/smaps). A mapping that reaches beyond the
/// range counts as mapped and charged with its part in it; resident and dirty are known of whole
/// mappings only. Throws std::runtime_error if there is no smaps.
[[nodiscard]] Residency residency(std::uintptr_t begin, std::uintptr_t end);

}  // namespace growstack::compare
