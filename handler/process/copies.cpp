#include "process/copies.hpp"

#include "fault/forward.hpp"
#include "fault/on_fault.hpp"
#include "process/install.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

/// What a copy tells others. They may be of other versions, so members are only ever added.
struct CopyDescription {
  bool (*forwards_to)(int signal, const struct sigaction* action, struct sigaction* next);
};

/// Not of a copy that was uninstalled: nobody should come to forward to it again.
bool forwards_to(int signal, const struct sigaction* action, struct sigaction* next) {
  const int level = growstack::handler::level_of(*action);
  if (level < 0 || !growstack::handler::watches(signal)) {
    return false;
  }
  *next = growstack::handler::previous_action(level, signal);
  return true;
}

}  // namespace

extern "C" {
// The note below names it. Hidden, so that each copy has its own.
extern const CopyDescription growstack_copy_description [[gnu::visibility("hidden")]];
[[gnu::used]] const CopyDescription growstack_copy_description{.forwards_to = forwards_to};
}

// The note: a name, and how far the description is from the place where this is written. Version 1.
// NOLINTNEXTLINE(hicpp-no-assembler): no declaration makes such a note
asm(R"(
  .pushsection .note.growstack, "a", %note
  .balign 4
  .long 10
  .long 4
  .long 1
  .asciz "growstack"
  .balign 4
  .long growstack_copy_description - .
  .popsection
)");

namespace growstack::handler {
namespace {

constexpr char note_name[] = "growstack";
constexpr ElfW(Word) note_version = 1;

std::uintptr_t padded(std::uintptr_t size) noexcept { return (size + 3) / 4 * 4; }

/// Returns the description in one segment of notes, or null.
const CopyDescription* find_in_notes(std::uintptr_t at, std::uintptr_t end) noexcept {
  while (at + sizeof(ElfW(Nhdr)) <= end) {
    const auto& note = *reinterpret_cast<const ElfW(Nhdr)*>(at);
    const std::uintptr_t name = at + sizeof note;
    const std::uintptr_t value = name + padded(note.n_namesz);
    at = value + padded(note.n_descsz);
    if (at <= end && note.n_type == note_version && note.n_descsz == sizeof(std::int32_t) &&
        note.n_namesz == sizeof note_name &&
        std::memcmp(reinterpret_cast<const void*>(name), note_name, sizeof note_name) == 0) {
      const auto distance = *reinterpret_cast<const std::int32_t*>(value);
      return reinterpret_cast<const CopyDescription*>(value +
                                                      static_cast<std::uintptr_t>(distance));
    }
  }
  return nullptr;
}

/// Returns the description of the copy that is part of the ELF file which the code belongs to. Not
/// by dladdr(3) or dl_iterate_phdr(3): they take locks that a thread may hold which waits for ours.
const CopyDescription* find_copy(void* code) noexcept {
  dl_find_object found{};
  if (_dl_find_object(code, &found) != 0) {
    return nullptr;
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(found.dlfo_map_start);
  const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(begin);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return nullptr;
  }
  const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(begin + header.e_phoff);
  for (std::size_t index = 0; index < header.e_phnum; ++index) {
    const ElfW(Phdr)& segment = segments[index];
    if (segment.p_type != PT_NOTE || segment.p_align > sizeof(ElfW(Word))) {
      continue;
    }
    const std::uintptr_t notes = found.dlfo_link_map->l_addr + segment.p_vaddr;
    if (const auto* const copy = find_in_notes(notes, notes + segment.p_memsz); copy != nullptr) {
      return copy;
    }
  }
  return nullptr;
}

}  // namespace

bool copy_forwards_to(int signal, const struct sigaction& action, struct sigaction& next) noexcept {
  if ((action.sa_flags & SA_SIGINFO) == 0) {
    return false;
  }
  const CopyDescription* const copy = find_copy(reinterpret_cast<void*>(action.sa_sigaction));
  return copy != nullptr && copy->forwards_to(signal, &action, &next);
}

}  // namespace growstack::handler
