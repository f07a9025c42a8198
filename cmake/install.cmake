# cmake --install: headers, libraries, find_package(growstack), pkg-config.
include(CMakePackageConfigHelpers)

set_target_properties(growstack_handler PROPERTIES EXPORT_NAME handler)
set_target_properties(growstack PROPERTIES INSTALL_RPATH "$ORIGIN")  # the one finds the other beside it

install(TARGETS growstack growstack_handler EXPORT growstack
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY lib/include/ handler/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(growstack_package ${CMAKE_INSTALL_LIBDIR}/cmake/growstack)
install(EXPORT growstack NAMESPACE growstack:: FILE growstack-targets.cmake DESTINATION ${growstack_package})
configure_package_config_file(cmake/growstack-config.cmake.in growstack-config.cmake
  INSTALL_DESTINATION ${growstack_package})
write_basic_package_version_file(growstack-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/growstack-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/growstack-config-version.cmake
  DESTINATION ${growstack_package})

# The prefix may be chosen as late as at installation, so the file finds it from where it lies.
file(RELATIVE_PATH growstack_prefix_from_pc "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
configure_file(cmake/growstack.pc.in growstack.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/growstack.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
