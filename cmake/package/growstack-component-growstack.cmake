# What the component growstack needs.
growstack_needs_component(handler)
if(NOT growstack_is_shared)  # the shared library finds these for itself
  growstack_needs_package(Boost 1.74 CONFIG COMPONENTS context)
endif()
