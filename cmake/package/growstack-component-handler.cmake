# What the component handler needs.
growstack_needs_package(Threads)
if(NOT growstack_is_shared)  # the shared library finds these for itself
  growstack_needs_package(Boost 1.74 CONFIG COMPONENTS stacktrace_backtrace)
endif()
