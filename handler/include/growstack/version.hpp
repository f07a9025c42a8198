// Which growstack this is, for the preprocessor. CMakeLists.txt has the same version, and does not
// configure where it differs.
#pragma once

/// Stacks, pools of them, and calls on them.
namespace growstack {
/// Everything that runs because of a fault; usable alone.
namespace handler {}
}  // namespace growstack

/// While this is 0, each minor version may break source and binary compatibility.
#define GROWSTACK_VERSION_MAJOR 0
/// Part of the SONAME as long as the major version is 0.
#define GROWSTACK_VERSION_MINOR 2
/// Patch versions are compatible in both directions.
#define GROWSTACK_VERSION_PATCH 0

/// One number to compare: 1002003 is 1.2.3.
#define GROWSTACK_VERSION \
  (GROWSTACK_VERSION_MAJOR * 1000000 + GROWSTACK_VERSION_MINOR * 1000 + GROWSTACK_VERSION_PATCH)
/// "0.2.0"
#define GROWSTACK_VERSION_STRING "0.2.0"
