// Whether there is a symbolizer, as install and uninstall see it.
#pragma once

namespace growstack::handler {

/// Starts the symbolizer, unless the program wants none. Growth does not need it. So if it cannot
/// be had, this is no error, and a report has raw addresses. Under the life-cycle lock.
void start_symbolizer() noexcept;

}  // namespace growstack::handler
