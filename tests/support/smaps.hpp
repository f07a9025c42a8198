// What the kernel says of this process: its mappings, its memory, its descriptors.
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
  std::string flags;  ///< two letters each, separated by spaces; proc_pid_smaps(5)

  [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
  [[nodiscard]] bool has_flag(std::string_view two_letters) const noexcept;
};

/// All of them, from low to high addresses.
[[nodiscard]] std::vector<Mapping> mappings();

/// The pieces of mappings in [begin, end), cut to it; `resident` stays that of the whole mapping.
[[nodiscard]] std::vector<Mapping> mappings_in(const void* begin, const void* end);

/// Bytes of [begin, end) that are mapped at all, and that the kernel charges to this process
/// whatever vm.overcommit_memory says (flag "ac").
[[nodiscard]] std::size_t mapped_bytes(const void* begin, const void* end);
[[nodiscard]] std::size_t charged_bytes(const void* begin, const void* end);

/// Charged bytes of all mappings.
[[nodiscard]] std::size_t charged_bytes();

/// Lines of /proc/self/maps, entries of /proc/self/fd and of /proc/self/task.
[[nodiscard]] std::size_t mapping_count();
[[nodiscard]] std::size_t descriptor_count();
[[nodiscard]] std::size_t thread_count();

/// Whether there are soon no more than that: a thread that was joined is listed for a moment
/// longer.
[[nodiscard]] bool threads_come_down_to(std::size_t most);

/// A line "Name:  123 kB" of /proc/self/status, as "VmData", in bytes.
[[nodiscard]] std::size_t status_bytes(std::string_view name);

/// Bytes of memory that the kernel takes for available (MemAvailable).
[[nodiscard]] std::size_t available_memory();

/// The number that a file consists of, as in /proc/sys; 0 if there is none.
[[nodiscard]] std::size_t number_in(const char* path);

}  // namespace growstack::testing
