# cmake --install: headers, libraries, find_package(growstack), pkg-config.
#
# Each component has two files in cmake/package: growstack-component-<name>.cmake says which
# packages and components its users need, and the template growstack-<name>.pc.in says it for
# pkg-config.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(growstack_components handler growstack attach_all keep_handler)
if(TARGET growstack_boost_fiber)
  list(APPEND growstack_components boost_fiber)
endif()
set(growstack_package ${CMAKE_INSTALL_LIBDIR}/cmake/growstack)

# For the .pc files. They find the prefix from where they lie, because it may be chosen as late as
# at installation. If only the archives are installed, all that they need is part of Libs, so that
# pkg-config tells it without --static.
file(RELATIVE_PATH growstack_prefix_from_pc /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
if(BUILD_SHARED_LIBS)
  set(growstack_needs "")
  set(growstack_keep_attach_all -Wl,--no-as-needed)
  set(growstack_keep_keep_handler -Wl,--no-as-needed)
else()
  set(growstack_needs "\${needs}")
  set(growstack_keep_attach_all -Wl,--undefined=growstack_attach_all)
  string(JOIN "," growstack_keep_keep_handler -Wl --undefined=growstack_keep_handler_2
    --export-dynamic-symbol=growstack_keep_handler_2)
endif()

# Builds what is installed, and nothing else.
add_custom_target(growstack_installed)

foreach(component IN LISTS growstack_components)
  get_target_property(target growstack::${component} ALIASED_TARGET)
  set_target_properties(${target} PROPERTIES
    EXPORT_NAME ${component}
    INSTALL_RPATH "$ORIGIN")  # a library finds the others beside it
  add_dependencies(growstack_installed ${target})
  set(headers "")
  get_target_property(has_headers ${target} INTERFACE_HEADER_SETS)
  if(has_headers)
    set(headers FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  endif()
  install(TARGETS ${target} EXPORT growstack-${component}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ${headers})
  install(EXPORT growstack-${component}
    NAMESPACE growstack::
    FILE growstack-targets-${component}.cmake
    DESTINATION ${growstack_package})
  install(FILES cmake/package/growstack-component-${component}.cmake
    DESTINATION ${growstack_package})

  string(REPLACE growstack-growstack growstack pc growstack-${component}.pc)
  configure_file(cmake/package/${pc}.in ${pc} @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${pc}
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

string(REPLACE ";" ", " growstack_components_in_words "${growstack_components}")
configure_package_config_file(cmake/package/growstack-config.cmake.in growstack-config.cmake
  INSTALL_DESTINATION ${growstack_package}
  NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 each minor version may break its users. The SONAME says the same.
write_basic_package_version_file(growstack-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/growstack-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/growstack-config-version.cmake
  DESTINATION ${growstack_package})

install(FILES handler/gdb/growstack.py DESTINATION ${CMAKE_INSTALL_DATADIR}/growstack)
