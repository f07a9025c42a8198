#include "proofs/soak/tenant.hpp"

#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "support/descend.hpp"

#include <alloca.h>

#include <algorithm>
#include <array>

namespace growstack::soak {
namespace {

constexpr std::size_t page = 4096;

/// Who lives: one bit for each of the last tenants. There are never as many as bits.
constexpr std::size_t most_tenants = std::size_t{1} << 20U;
std::array<std::atomic<std::uint32_t>, most_tenants> living{};
std::atomic<std::uint32_t> last_number{0};

bool lives(std::uint32_t number) {
  return number != 0 && living[number % most_tenants].load(std::memory_order_relaxed) == number;
}

/// Whose words a page carries.
struct Owner {
  std::uint32_t number = 0;  ///< 0: nobody's
  std::uintptr_t base = 0;   ///< where the owner's stack ends, if the page is a part of it
};

/// Four words that lie far apart must agree, because a single one may be what a register held.
[[gnu::noinline]] GROWSTACK_RAW_STACK Owner owner_of_page(std::uintptr_t begin) {
  const auto* const words = reinterpret_cast<const volatile std::uint64_t*>(begin);
  constexpr std::array<std::size_t, 4> places{40, 170, 300, 470};
  const std::uint64_t first = words[places[0]];
  for (const std::size_t place : places) {
    if (words[place] != first - (place - places[0])) {
      return {};
    }
  }
  return {.number = static_cast<std::uint32_t>(first >> 32U),
          .base = begin + 8 * (places[0] + (first & 0xFFFF'FFFFU))};
}

[[gnu::noinline]] GROWSTACK_RAW_STACK std::uintptr_t first_wrong(const Tenant& tenant,
                                                                 std::uintptr_t begin,
                                                                 std::uintptr_t end) {
  for (std::uintptr_t at = begin; at < end; at += 8) {
    if (*reinterpret_cast<const volatile std::uint64_t*>(at) != tenant.word_at(at)) {
      return at;
    }
  }
  return 0;
}

/// Returns the size of the next frame, or 0 if it is deep enough.
std::size_t next_frame(Descent& descent, std::uintptr_t here) {
  constexpr std::size_t least = 64;
  constexpr std::size_t own_frame = 1024;
  if (here < descent.deepest + least + own_frame) {
    return 0;
  }
  const std::size_t left = here - descent.deepest - own_frame;
  const std::size_t most = std::min(left, descent.largest_frame);
  return descent.random.log_uniform(least, most) / 16 * 16;
}

/// Fills from the upper end on, without a call: as code that uses its frame page by page.
[[gnu::always_inline]] GROWSTACK_RAW_STACK inline void fill_downwards(const Tenant& tenant,
                                                                      std::uintptr_t begin,
                                                                      std::uintptr_t end) {
  for (std::uintptr_t at = end; at > begin;) {
    at -= 8;
    *reinterpret_cast<volatile std::uint64_t*>(at) = tenant.word_at(at);
  }
}

}  // namespace

Tenant::Tenant(std::uintptr_t base, bool fresh) : base_(base), fresh_(fresh) {
  do {
    number_ = last_number.fetch_add(1, std::memory_order_relaxed) + 1;
  } while (number_ == 0 || living[number_ % most_tenants].load() != 0);
  living[number_ % most_tenants].store(number_);
}

Tenant::~Tenant() { living[number_ % most_tenants].store(0); }

void Tenant::look(std::uintptr_t begin, std::uintptr_t end) const {
  for (std::uintptr_t at = (begin + page - 1) / page * page; at + page <= end; at += page) {
    const Owner owner = owner_of_page(at);
    if (owner.number == 0 || owner.number == number_) {
      continue;
    }
    // On the same stack it is what a tenant that runs further up wrote when it was deeper.
    if (lives(owner.number) && owner.base != base_) {
      wrong("a page of tenant %u shows words of tenant %u, who lives: %#lx", number_, owner.number,
            at);
    }
    if (fresh_) {
      wrong("a page of tenant %u was given back, and has words of tenant %u: %#lx", number_,
            owner.number, at);
    }
  }
}

GROWSTACK_RAW_STACK void Tenant::fill(std::uintptr_t begin, std::uintptr_t end) const {
  for (std::uintptr_t at = begin; at < end; at += 8) {
    *reinterpret_cast<volatile std::uint64_t*>(at) = word_at(at);
  }
}

void Tenant::verify(std::uintptr_t begin, std::uintptr_t end) const {
  if (const std::uintptr_t at = first_wrong(*this, begin, end); at != 0) {
    counts.words_lost.fetch_add(1, std::memory_order_relaxed);
    const auto found = *reinterpret_cast<const volatile std::uint64_t*>(at);
    wrong(
        "tenant %u lost a word at %#lx: it shall be %016lx, and is %016lx; the room is %#lx to "
        "%#lx",
        number_, at, word_at(at), std::uint64_t{found}, begin, end);
  }
  counts.bytes_verified.fetch_add(end - begin, std::memory_order_relaxed);
}

GROWSTACK_RAW_STACK void Tenant::verify_all() const {
  for (const Room* room = lowest_.load(std::memory_order_acquire); room != nullptr;
       room = room->above) {
    verify(room->begin, room->end);
  }
}

GROWSTACK_RAW_STACK void Tenant::verify_one(std::size_t choice) const {
  const Room* room = lowest_.load(std::memory_order_acquire);
  for (std::size_t step = choice % 16; room != nullptr; --step, room = room->above) {
    if (step == 0) {
      return verify(room->begin, room->end);
    }
  }
}

[[gnu::noinline]] GROWSTACK_RAW_STACK void descend(Descent& descent) {
  const std::size_t bytes = next_frame(descent, GROWSTACK_HERE);
  if (bytes == 0) {
    return descent.at_the_bottom();
  }
  const bool downwards = descent.random.one_in(2);
  const bool looks = descent.looks_first;
  Room room;
  void* const memory = alloca(bytes);
  asm volatile("" : : "r"(memory) : "memory");
  room.begin = reinterpret_cast<std::uintptr_t>(memory);
  room.end = room.begin + bytes;
  if (downwards && !looks) {
    fill_downwards(descent.tenant, room.begin, room.end);
  } else {
    // The call is the first touch: it writes its return address below the room.
    if (looks) {
      descent.tenant.look(room.begin, room.end);
    }
    descent.tenant.fill(room.begin, room.end);
  }
  descent.tenant.enter(room);
  descend(descent);
  descent.tenant.leave(room);
}

}  // namespace growstack::soak
