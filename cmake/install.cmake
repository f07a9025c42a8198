# cmake --install: headers, libraries, find_package(growstack), pkg-config.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(growstack_package ${CMAKE_INSTALL_LIBDIR}/cmake/growstack)
# The prefix may be chosen as late as at installation, so the files for pkg-config find it from where they lie.
file(RELATIVE_PATH growstack_prefix_from_pc "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")

# All that is installed, and nothing else.
add_custom_target(growstack_installed)

# growstack_component(<name> TARGET <target> DESCRIPTION <text> [HEADERS <folders>...] [NEEDS <components>...]
#   [PACKAGES <arguments of find_package>...] [LINKS <flags>...])
#
# One component of the package: target growstack::<name> for find_package, and growstack-<name>.pc (growstack.pc for the one of the
# same name). NEEDS: components that its users need as well; these come before it. PACKAGES and LINKS: what the linker needs who links
# to it, the one for CMake, the other for pkg-config; each package is one argument, in quotes. A shared library has found its own
# already: only Threads is left of these.
function(growstack_component name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TARGET;DESCRIPTION" "HEADERS;NEEDS;PACKAGES;LINKS")
  get_target_property(type ${arg_TARGET} TYPE)

  set_target_properties(${arg_TARGET} PROPERTIES EXPORT_NAME ${name} INSTALL_RPATH "$ORIGIN")  # the one finds the other beside it
  install(TARGETS ${arg_TARGET} EXPORT growstack-${name}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT growstack-${name} NAMESPACE growstack:: FILE growstack-targets-${name}.cmake DESTINATION ${growstack_package})
  foreach(folder IN LISTS arg_HEADERS)
    install(DIRECTORY ${folder}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  endforeach()

  if(type STREQUAL SHARED_LIBRARY)  # not an interface, whose users link all of it
    list(FILTER arg_PACKAGES INCLUDE REGEX "^Threads$")
  endif()
  if(NOT type STREQUAL INTERFACE_LIBRARY)
    add_dependencies(growstack_installed ${arg_TARGET})
  endif()
  set(looks "")
  foreach(needed IN LISTS arg_NEEDS)
    string(APPEND looks
      "include(\${CMAKE_CURRENT_LIST_DIR}/growstack-component-${needed}.cmake)\n"
      "if(NOT growstack_${needed}_FOUND)\n  return()\nendif()\n")
  endforeach()
  foreach(package IN LISTS arg_PACKAGES)
    string(REGEX MATCH "^[^ ]+" package_name ${package})
    string(APPEND looks
      "find_package(${package} QUIET)\n"
      "if(NOT ${package_name}_FOUND)\n  set(growstack_missing \"it needs ${package}, which was not found\")\n  return()\nendif()\n")
  endforeach()
  file(CONFIGURE OUTPUT growstack-component-${name}.cmake @ONLY CONTENT
"# Component @name@. Who includes this reads growstack_@name@_FOUND, and in growstack_missing why not.
set(growstack_@name@_FOUND FALSE)
@looks@include(\${CMAKE_CURRENT_LIST_DIR}/growstack-targets-@name@.cmake)
set(growstack_@name@_FOUND TRUE)
")
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/growstack-component-${name}.cmake DESTINATION ${growstack_package})
  set_property(GLOBAL APPEND PROPERTY growstack_components ${name})

  set(pc_name growstack-${name})
  if(name STREQUAL growstack)
    set(pc_name growstack)
  endif()
  set(pc_description ${arg_DESCRIPTION})
  set(pc_requires "")
  foreach(needed IN LISTS arg_NEEDS)
    if(NOT needed STREQUAL growstack)
      string(PREPEND needed growstack-)
    endif()
    string(APPEND pc_requires "${needed} = ${PROJECT_VERSION} ")
  endforeach()
  string(REPLACE ";" " " links "${arg_LINKS}")
  set(pc_libs "")
  set(pc_libs_private "")
  if(type STREQUAL SHARED_LIBRARY)
    set(pc_libs "-L\${libdir} -l${arg_TARGET}")
    set(pc_libs_private "${links}")
  elseif(type STREQUAL STATIC_LIBRARY)
    # There is only the archive here, so whoever links to it does so statically: --static changes nothing.
    set(pc_libs "-L\${libdir} -l${arg_TARGET} ${links}")
  else()
    set(pc_libs "${links}")
  endif()
  get_target_property(options ${arg_TARGET} INTERFACE_LINK_OPTIONS)
  foreach(option IN LISTS options)
    if(option MATCHES "^LINKER:(.*)")
      string(PREPEND pc_libs "-Wl,${CMAKE_MATCH_1} ")
    endif()
  endforeach()
  configure_file(cmake/growstack.pc.in ${pc_name}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${pc_name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

# After the last component.
function(growstack_install_package)
  get_property(components GLOBAL PROPERTY growstack_components)
  string(REPLACE ";" ", " growstack_components_in_words "${components}")
  configure_package_config_file(cmake/growstack-config.cmake.in growstack-config.cmake
    INSTALL_DESTINATION ${growstack_package} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
  # As the SONAME has it: before 1.0 each minor version may break.
  write_basic_package_version_file(growstack-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/growstack-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/growstack-config-version.cmake
    DESTINATION ${growstack_package})
endfunction()

growstack_component(handler TARGET growstack_handler HEADERS handler/include
  DESCRIPTION "A fault handler that commits memory where a stack grows"
  PACKAGES Threads "Boost 1.74 CONFIG COMPONENTS stacktrace_backtrace"
  LINKS -lboost_stacktrace_backtrace -ldl -pthread)
growstack_component(growstack TARGET growstack HEADERS lib/include NEEDS handler
  DESCRIPTION "${PROJECT_DESCRIPTION}"
  PACKAGES "Boost 1.74 CONFIG COMPONENTS context"
  LINKS -lboost_context -ldl)
growstack_component(attach_all TARGET growstack_attach_all NEEDS handler
  DESCRIPTION "Attaches every thread of a program, so that any may run on growable stacks"
  LINKS -ldl)
if(TARGET growstack_boost_fiber)
  growstack_component(boost_fiber TARGET growstack_boost_fiber NEEDS growstack
    DESCRIPTION "Growable stacks for the workers of Boost.Fiber"
    PACKAGES "Boost 1.74 CONFIG COMPONENTS fiber"
    LINKS -lboost_fiber -lboost_context)
endif()
growstack_install_package()
install(FILES handler/gdb/growstack.py DESTINATION ${CMAKE_INSTALL_DATADIR}/growstack)
