// Memory before it is needed.
#include <growstack/headroom.hpp>

#include "errors.hpp"

#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/ranges.hpp>

#include <cerrno>
#include <cstdint>

namespace growstack {

std::error_code ensure_committed(const void* pointer, std::size_t size) noexcept {
  const auto first = reinterpret_cast<std::uintptr_t>(pointer);
  if (handler::is_committed(first, first)) {
    return {};
  }
  const handler::SlotRecord* const slot = handler::live_slot(first);
  if (slot != nullptr && size > slot->base.load(std::memory_order_relaxed) - first) {
    return error_code(EINVAL);
  }
  return error_code(error_of_growth(handler::commit_ahead(first, first)));
}

std::error_code reserve_headroom(std::size_t bytes) noexcept {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  return error_code(error_of_growth(handler::commit_ahead(here, here > bytes ? here - bytes : 0)));
}

}  // namespace growstack
