// Which growstack this is, for the preprocessor. CMakeLists.txt has the same version. If the two
// differ, it does not configure.
#pragma once

/// Stacks that grow, pools of such stacks, and calls on them.
namespace growstack {
/// Everything that runs because of a fault. Usable alone.
namespace handler {}
}  // namespace growstack

/// The major version. While it is 0, each minor version may break source and binary compatibility.
#define GROWSTACK_VERSION_MAJOR 0
/// The minor version. It is part of the SONAME while the major version is 0.
#define GROWSTACK_VERSION_MINOR 2
/// The patch version. Patch versions are compatible in both directions.
#define GROWSTACK_VERSION_PATCH 0

/// The version as one number, to compare: 1002003 is 1.2.3.
#define GROWSTACK_VERSION \
  (GROWSTACK_VERSION_MAJOR * 1000000 + GROWSTACK_VERSION_MINOR * 1000 + GROWSTACK_VERSION_PATCH)
/// The version as text: "0.2.0".
#define GROWSTACK_VERSION_STRING "0.2.0"
