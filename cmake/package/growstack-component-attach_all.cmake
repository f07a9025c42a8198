# What the component attach_all needs.
growstack_needs_component(handler)
