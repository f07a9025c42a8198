// Address space and memory. Every strategy maps with these functions; grows_down adds a kind of
// mapping of its own.
//
// A page of ours is in one of three states, and four verbs move it:
//
//     reserve    None      -> Reserved     the address space is ours; no memory, no charge;
//                                          a touch faults
//     commit     Reserved  -> Committed    readable and writable, charged; physical memory comes at
//                                          the first touch
//     decommit   Committed -> Reserved     memory and charge are given back
//     release    any       -> None
//
// The contract of all functions: addresses and sizes are multiples of the page size, [begin, begin
// + size) lies in one reservation of ours, a size of 0 does nothing, and the result is 0 or an
// errno, whose call is noted (handler::failed). Only mapping_start() allocates or locks. commit()
// may run in a signal handler.
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

/// Bytes of a huge page on x86-64 and, with pages of 4 KiB, on aarch64: as many as one page of page
/// tables describes.
inline constexpr std::size_t huge_page = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t size, std::size_t multiple) noexcept {
  return (size + multiple - 1) / multiple * multiple;
}

/// In which pages physical memory may come. This is advice for a mapping, and the kernel joins only
/// mappings that are alike. So a whole reservation has the same, or each stack would cost one
/// mapping more.
enum class Pages : std::uint8_t {
  small,
  huge_too,  ///< huge pages where aligned 2 MiB are Committed and none of them is in use yet
};

/// Moves None to Reserved. The kernel chooses the place, which is a multiple of `alignment`; that
/// is a multiple of the page size.
[[nodiscard]] int reserve(std::size_t size, std::size_t alignment, Pages pages,
                          std::uintptr_t& begin) noexcept;

/// Moves Reserved to Committed. Idempotent; pages that are Committed already keep their contents.
/// May run in a signal handler.
[[nodiscard]] int commit(std::uintptr_t begin, std::size_t size) noexcept;

/// Lets Reserved memory be read: zeros, without memory or charge. It stays Reserved.
[[nodiscard]] int let_read(std::uintptr_t begin, std::size_t size) noexcept;

/// Moves Committed to Reserved. Maps fresh memory over the old, because taking the permission away
/// would keep the charge. That may need one mapping more than are allowed; if it fails, permission
/// and memory are taken away, and the charge stays. `pages` is the same as for the reservation.
[[nodiscard]] int decommit(std::uintptr_t begin, std::size_t size, Pages pages) noexcept;

/// Moves Committed to Reserved in half of the time, by leaving the memory a mapping of its own:
/// what the kernel need not join, it need not split again. Only for memory that commit_anew()
/// commits next.
[[nodiscard]] int decommit_alone(std::uintptr_t begin, std::size_t size) noexcept;

/// Moves Reserved to Committed, also what decommit_alone() left: it is like its neighbours then, so
/// that the kernel joins it with those that are committed later.
[[nodiscard]] int commit_anew(std::uintptr_t begin, std::size_t size, Pages pages) noexcept;

/// Moves any state to None.
[[nodiscard]] int release(std::uintptr_t begin, std::size_t size) noexcept;

/// Does the same for what nobody will use again. If a filter forbids that, the address space stays,
/// but it is neither resident nor charged any more.
void release_or_uncharge(std::uintptr_t begin, std::size_t size) noexcept;

/// Keeps memory Reserved, and prepares that commit() makes it Committed without a charge
/// (MAP_NORESERVE). For strategies that let the kernel decide what is needed. The memory is never
/// locked, because after mlockall(MCL_FUTURE) all of it would become resident at once.
[[nodiscard]] int reserve_uncharged(std::uintptr_t begin, std::size_t size, Pages pages) noexcept;

/// Moves Reserved to Committed, uncharged but counted by RLIMIT_DATA: reserve_uncharged() and
/// commit(). After a failure all is Reserved.
[[nodiscard]] int commit_uncharged(std::uintptr_t begin, std::size_t size, Pages pages) noexcept;

/// Makes Committed memory a mapping apart from its neighbours. It gets the advice MADV_RANDOM, by
/// which it then differs from them. For anonymous memory that advice only lets reclaim take pages a
/// little earlier.
[[nodiscard]] int set_apart(std::uintptr_t begin, std::size_t size) noexcept;

/// Leaves memory out of core dumps (MADV_DONTDUMP). That also makes it a mapping apart.
[[nodiscard]] int leave_out_of_core(std::uintptr_t begin, std::size_t size) noexcept;

/// Gives the physical memory of Committed memory back (MADV_DONTNEED). It stays Committed, and the
/// next touch finds zeros.
[[nodiscard]] int discard(std::uintptr_t begin, std::size_t size) noexcept;

/// Lets the kernel back Committed memory with huge pages from now on (MADV_HUGEPAGE). Returns 0 on
/// kernels without huge pages, too.
[[nodiscard]] int want_huge_pages(std::uintptr_t begin, std::size_t size) noexcept;

/// Locks Committed memory in physical memory: all of it at once, or each page from its first touch
/// on (MLOCK_ONFAULT).
[[nodiscard]] int lock(std::uintptr_t begin, std::size_t size, bool on_fault) noexcept;

/// Moves Committed to Reserved without a mapping of its own, by guard markers (MADV_GUARD_INSTALL,
/// Linux 6.13). A touch then raises SIGSEGV with SEGV_MAPERR. Drops the contents. Idempotent;
/// markers survive MADV_DONTNEED and fork. The kernel refuses them on locked memory, so that is
/// unlocked first. EINVAL on older kernels.
[[nodiscard]] int install_markers(std::uintptr_t begin, std::size_t size) noexcept;

/// Installs markers on many ranges: collects them, and installs many at a time if the kernel lets a
/// process advise itself so (process_madvise(2) with PIDFD_SELF, Linux 6.14).
class MarkerList {
 public:
  /// Installs markers on a range, at the latest in finish().
  [[nodiscard]] int install(std::uintptr_t begin, std::size_t size) noexcept;
  [[nodiscard]] int finish() noexcept;

 private:
  std::array<iovec, 128> ranges_;
  std::size_t count_ = 0;
};

/// Moves pages with markers from Reserved to Committed (MADV_GUARD_REMOVE). Pages without markers
/// stay as they are. May run in a signal handler.
[[nodiscard]] int remove_markers(std::uintptr_t begin, std::size_t size) noexcept;

/// Returns where the mapping that contains `address` starts (/proc/self/maps), or 0, with errno, if
/// there is none or the file cannot be read. Not from a signal handler.
[[nodiscard]] std::uintptr_t mapping_start(std::uintptr_t address) noexcept;

/// Returns the lowest address, but none below `begin`, from which on all memory up to `end` is of a
/// mapping that grows down. Makes it readable and writable. Asks the kernel, without a descriptor.
[[nodiscard]] std::uintptr_t lowest_of_growing(std::uintptr_t begin, std::uintptr_t end) noexcept;

}  // namespace growstack::vm
