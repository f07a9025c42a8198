#include "../copy.hpp"

static constexpr char name[] = "of the plugin";

extern "C" Copy plugin_copy() { return copy<name>; }
