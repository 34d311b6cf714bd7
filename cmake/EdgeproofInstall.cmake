# `find_package(edgeproof)` for other projects: targets edgeproof::core and edgeproof::bundle.

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/edgeproof)
install(TARGETS edgeproof_core edgeproof_bundle EXPORT edgeproof-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/runtime/cpp/core/include/edgeproof
                  ${PROJECT_SOURCE_DIR}/runtime/cpp/bundle/include/edgeproof ${EDGEPROOF_GENERATED_DIR}/edgeproof
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT edgeproof-targets NAMESPACE edgeproof:: DESTINATION ${package_dir})
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/edgeproof-config.cmake.in ${PROJECT_BINARY_DIR}/edgeproof-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/edgeproof-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/edgeproof-config.cmake ${PROJECT_BINARY_DIR}/edgeproof-config-version.cmake
        DESTINATION ${package_dir})
