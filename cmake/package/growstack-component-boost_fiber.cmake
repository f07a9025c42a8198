# What the component boost_fiber needs.
growstack_needs_component(growstack)
growstack_needs_package(Boost 1.74 CONFIG COMPONENTS fiber)
