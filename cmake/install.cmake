# cmake --install: headers, libraries, find_package(growstack), pkg-config.
include(CMakePackageConfigHelpers)

set_target_properties(growstack_handler PROPERTIES EXPORT_NAME handler)

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

configure_file(cmake/growstack.pc.in growstack.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/growstack.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
