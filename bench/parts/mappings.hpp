// A process with many mappings: the tree in which the kernel looks an address up gets deeper.
#pragma once

#include <cstddef>

namespace growstack::bench {

/// As many mappings as stacks with guards would be: pages in a row, with permissions and without in
/// turns, which the kernel cannot merge.
class Mappings {
 public:
  /// Throws std::system_error: ENOMEM, with the limit in its message, if the process may not have
  /// so many.
  explicit Mappings(std::size_t count);
  ~Mappings();
  Mappings(const Mappings&) = delete;
  Mappings& operator=(const Mappings&) = delete;

 private:
  std::size_t size_;
  char* begin_ = nullptr;
};

}  // namespace growstack::bench
