// What the kernel says about this process: its mappings, memory, descriptors and threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::testing {

/// One entry of /proc/self/smaps; sizes in bytes.
struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::string protection;  ///< as "rw-p"
  std::size_t resident = 0;
  std::size_t in_huge_pages = 0;  ///< of the resident bytes
  std::string flags;              ///< two letters each, separated by spaces; proc_pid_smaps(5)

  [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
  [[nodiscard]] bool has_flag(std::string_view two_letters) const noexcept;
};

/// Returns all mappings, from low to high addresses.
[[nodiscard]] std::vector<Mapping> mappings();

/// Returns the parts of mappings that lie in [begin, end). What is resident is that of the whole
/// mapping.
[[nodiscard]] std::vector<Mapping> mappings_in(const void* begin, const void* end);

/// Returns how many bytes of [begin, end) are mapped.
[[nodiscard]] std::size_t mapped_bytes(const void* begin, const void* end);

/// Returns how many bytes of [begin, end) the kernel charges to this process (flag "ac"), whatever
/// vm.overcommit_memory says.
[[nodiscard]] std::size_t charged_bytes(const void* begin, const void* end);

/// Returns how many bytes of all mappings the kernel charges to this process.
[[nodiscard]] std::size_t charged_bytes();

/// Return the number of lines of /proc/self/maps, and of entries in /proc/self/fd and
/// /proc/self/task.
[[nodiscard]] std::size_t mapping_count();
[[nodiscard]] std::size_t descriptor_count();
[[nodiscard]] std::size_t thread_count();

/// Waits until there are no more than `most` threads, because a joined thread is listed a moment
/// longer. Returns false if that takes more than 10 seconds.
[[nodiscard]] bool threads_come_down_to(std::size_t most);

/// Returns the number in a line "Name:  123 kB" of /proc/self/status, in bytes: of "VmData", say.
[[nodiscard]] std::size_t status_bytes(std::string_view name);

/// Returns how many bytes of memory the kernel takes for available (MemAvailable).
[[nodiscard]] std::size_t available_memory();

/// Returns the number that is the content of a file, as in /proc/sys. 0 if there is none.
[[nodiscard]] std::size_t number_in(const char* path);

}  // namespace growstack::testing
