// The handler without the library. The program has a range of its own, whose pages are committed at
// their first touch.
#include <growstack/handler/handler.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/report.hpp>

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>

namespace handler = growstack::handler;

namespace {

constexpr handler::Operations operations{
    .plan =
        [](const handler::Range&, const handler::SlotRecord& slot,
           std::uintptr_t address) noexcept {
          return handler::Step{address & ~std::uintptr_t{0xfff}, slot.limit.load()};
        },
    .commit =
        [](const handler::Range&, const handler::SlotRecord&, handler::Step step) noexcept {
          void* const begin = reinterpret_cast<void*>(step.begin);
          return mprotect(begin, step.end - step.begin, PROT_READ | PROT_WRITE) == 0 ? 0 : errno;
        },
    .on_overflow = handler::report_overflow};

}  // namespace

int main() {
  constexpr std::size_t size = handler::range_alignment;
  void* const memory = mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || handler::install() != 0 || handler::attach_thread() != 0) {
    return 1;
  }
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(memory) + size - 1) & ~(size - 1);
  const std::uintptr_t base = begin + size;
  handler::Range* range = nullptr;
  if (handler::add_range(
          {.begin = begin, .size = size, .slot_size = size, .operations = &operations}, range) !=
      0) {
    return 1;
  }
  handler::publish(*range, 0,
                   {.base = base,
                    .floor = begin + 65536,
                    .guard = begin,
                    .limit = base,
                    .largest_step = 1 << 20,
                    .name = "own"});
  auto* const byte = reinterpret_cast<volatile char*>(base - 100'000);
  *byte = 42;
  std::printf("%d, %llu growth fault\n", *byte,
              static_cast<unsigned long long>(handler::counters().growth));
  handler::retire(*range, 0);
  handler::remove_range(*range);
  return handler::uninstall() == 0 && handler::counters().growth == 1 ? 0 : 1;
}
