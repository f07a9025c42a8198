// What other code asks of the processor: the functions of <growstack/handler/machine.hpp>.
#include <growstack/handler/machine.hpp>

#include <growstack/handler/pages.hpp>
#include "machine/machine.hpp"

#include <sys/auxv.h>

namespace growstack::handler {

std::size_t red_zone_bytes() noexcept { return ThisMachine::red_zone_bytes; }

std::size_t signal_frame_bytes() noexcept {
  const unsigned long told = getauxval(AT_MINSIGSTKSZ);
  return ThisMachine::red_zone_bytes + (told != 0 ? told : ThisMachine::untold_frame_bytes);
}

std::size_t page_table_span() noexcept {
  return page_size() / ThisMachine::page_table_entry_bytes * page_size();
}

}  // namespace growstack::handler
