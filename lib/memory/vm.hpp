// Address space and memory: what every strategy maps with (grows_down adds its own kind of
// mapping).
//
// A page of ours is in one of three states, and four verbs move it:
//
//     reserve    None      -> Reserved    address space is ours; no memory, no charge; a touch
//     faults commit     Reserved  -> Committed   readable and writable, charged; physical memory
//     comes at first touch decommit   Committed -> Reserved    memory and charge are given back
//     release    any       -> None
//
// Contract of all of them: addresses and sizes are multiples of the page size, [begin, begin +
// size) lies in one reservation of ours, size 0 does nothing, the result is 0 or an errno. None
// allocates or locks but mapping_start; commit may run in a signal handler.
#pragma once

#include <growstack/handler/pages.hpp>

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace growstack::vm {

using handler::page_down;
using handler::page_size;
using handler::page_up;

/// Of x86-64 and, with pages of 4 KiB, aarch64: what one page of page tables describes.
inline constexpr std::size_t huge_page = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t size, std::size_t multiple) noexcept {
  return (size + multiple - 1) / multiple * multiple;
}

/// What physical memory may come in. The advice belongs to the mapping, and the kernel joins only
/// mappings that are alike: all of a reservation has the same, or each stack would cost a mapping
/// more.
enum class Pages : std::uint8_t {
  small,
  huge_too,  ///< where 2 MiB, at a multiple of that, are Committed, and none of it is in use yet
};

/// None -> Reserved, at a multiple of `alignment` (itself a multiple of the page size) which the
/// kernel chooses.
[[nodiscard]] int reserve(std::size_t size, std::size_t alignment, Pages pages,
                          std::uintptr_t& begin) noexcept;

/// Reserved -> Committed. Idempotent; what is committed already keeps its contents.
[[nodiscard]] int commit(std::uintptr_t begin, std::size_t size) noexcept;

/// Committed -> Reserved. Maps fresh memory over the old: taking the permission away alone would
/// keep the charge. Where that fails, for it may need a mapping more than are allowed, permission
/// and memory are taken away, and the charge stays. `pages` as the reservation has it.
[[nodiscard]] int decommit(std::uintptr_t begin, std::size_t size, Pages pages) noexcept;

/// Any -> None.
[[nodiscard]] int release(std::uintptr_t begin, std::size_t size) noexcept;

/// Reserved -> Committed, uncharged (MAP_NORESERVE) but counted by RLIMIT_DATA: for strategies that
/// let the kernel decide what is needed. Never locked: after mlockall(MCL_FUTURE) all of it would
/// become resident at once. When it fails, all is Reserved.
[[nodiscard]] int commit_uncharged(std::uintptr_t begin, std::size_t size, Pages pages) noexcept;

/// Committed stays committed, but becomes a mapping apart from its neighbours: the advice
/// MADV_RANDOM, which for anonymous memory only lets reclaim take its pages a little earlier, is
/// what the kernel then finds to differ.
[[nodiscard]] int set_apart(std::uintptr_t begin, std::size_t size) noexcept;

/// A core dump does without it (MADV_DONTDUMP), which also makes it a mapping apart.
[[nodiscard]] int leave_out_of_core(std::uintptr_t begin, std::size_t size) noexcept;

/// Committed stays committed, but physical memory is given back (MADV_DONTNEED): the next touch
/// finds zeros.
[[nodiscard]] int discard(std::uintptr_t begin, std::size_t size) noexcept;

/// Committed stays committed; from now on the kernel may back it with huge pages (MADV_HUGEPAGE). 0
/// on kernels without any.
[[nodiscard]] int want_huge_pages(std::uintptr_t begin, std::size_t size) noexcept;

/// Committed stays committed, and in physical memory: all of it at once, or each page from its
/// first touch on (MLOCK_ONFAULT).
[[nodiscard]] int lock(std::uintptr_t begin, std::size_t size, bool on_fault) noexcept;

/// Committed -> Reserved without a mapping of its own: guard markers (MADV_GUARD_INSTALL,
/// Linux 6.13). A touch raises SIGSEGV with SEGV_MAPERR. Drops what is there; idempotent; survives
/// MADV_DONTNEED and fork. EINVAL on older kernels, and on locked memory.
[[nodiscard]] int install_markers(std::uintptr_t begin, std::size_t size) noexcept;

/// The same for many ranges: collected, and installed many at a time where the kernel lets a
/// process advise itself so (process_madvise(2) with PIDFD_SELF, Linux 6.14).
class MarkerList {
 public:
  /// Some time before the end of finish().
  [[nodiscard]] int install(std::uintptr_t begin, std::size_t size) noexcept;
  [[nodiscard]] int finish() noexcept;

 private:
  std::array<iovec, 128> ranges_;
  std::size_t count_ = 0;
};

/// The way back (MADV_GUARD_REMOVE). What has no markers stays as it is. May run in a signal
/// handler.
[[nodiscard]] int remove_markers(std::uintptr_t begin, std::size_t size) noexcept;

/// Start of the mapping that contains `address` (/proc/self/maps); 0 when there is none. Not from a
/// signal handler.
[[nodiscard]] std::uintptr_t mapping_start(std::uintptr_t address) noexcept;

}  // namespace growstack::vm
