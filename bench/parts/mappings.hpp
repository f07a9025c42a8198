// Many mappings in this process: they make the tree deeper in which the kernel looks addresses up.
#pragma once

#include <cstddef>

namespace growstack::bench {

/// So many mappings, like those of stacks with guards: pages in a row, with permissions and without
/// in turn, which the kernel cannot merge.
class Mappings {
 public:
  /// Throws std::system_error. If the process may not have so many, the error is ENOMEM, and the
  /// message names the limit.
  explicit Mappings(std::size_t count);
  ~Mappings();
  Mappings(const Mappings&) = delete;
  Mappings& operator=(const Mappings&) = delete;

 private:
  std::size_t size_;
  char* begin_ = nullptr;
};

}  // namespace growstack::bench
