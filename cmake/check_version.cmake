# The version is a literal in growstack/version.hpp, so that nobody has to generate anything to use
# the headers. It must be the version of the project.
set(growstack_version_header
  ${CMAKE_CURRENT_SOURCE_DIR}/handler/include/growstack/version.hpp)
file(STRINGS ${growstack_version_header} growstack_version_lines
  REGEX "^#define GROWSTACK_VERSION_")
foreach(wanted IN ITEMS
    "MAJOR ${PROJECT_VERSION_MAJOR}"
    "MINOR ${PROJECT_VERSION_MINOR}"
    "PATCH ${PROJECT_VERSION_PATCH}"
    "STRING \"${PROJECT_VERSION}\"")
  if(NOT growstack_version_lines MATCHES "GROWSTACK_VERSION_${wanted}")
    message(FATAL_ERROR "${growstack_version_header} does not say GROWSTACK_VERSION_${wanted}, "
      "as CMakeLists.txt does")
  endif()
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${growstack_version_header})
