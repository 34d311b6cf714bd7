# `cpack -G DEB` in a build of the preset `package`: edgeproof-run as a Debian package. Dependencies come from
# dpkg-shlibdeps. OpenVINO, which Debian lacks, is inside.

set(EDGEPROOF_MAINTAINER "edgeproof <edgeproof@packages.invalid>" CACHE STRING "Maintainer that the Debian package names")

set(doc_dir ${CMAKE_INSTALL_DATADIR}/doc/edgeproof-run)
install(FILES ${PROJECT_SOURCE_DIR}/cmake/debian/copyright DESTINATION ${doc_dir} COMPONENT run)
string(TIMESTAMP now "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(cmake/debian/changelog.in ${PROJECT_BINARY_DIR}/changelog @ONLY)
# Debian requires man pages and change logs to be compressed.
install(CODE "
  set(prefix \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
  file(COPY_FILE \"${PROJECT_BINARY_DIR}/changelog\" \"\${prefix}/${doc_dir}/changelog\")
  file(GLOB pages \"\${prefix}/${CMAKE_INSTALL_MANDIR}/man1/edgeproof-run.1\" \"\${prefix}/${doc_dir}/changelog\")
  execute_process(COMMAND gzip -9nf \${pages} COMMAND_ERROR_IS_FATAL ANY)" COMPONENT run)

set(CPACK_GENERATOR DEB)
set(CPACK_COMPONENTS_ALL run)
set(CPACK_DEB_COMPONENT_INSTALL ON)
if(CMAKE_CROSSCOMPILING)
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${EDGEPROOF_DEBIAN_ARCHITECTURE}) # the toolchain's; CPack asks dpkg for this machine's
endif()
set(CPACK_PACKAGE_CONTACT ${EDGEPROOF_MAINTAINER})
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
                                                WORLD_EXECUTE)
set(CPACK_DEBIAN_RUN_PACKAGE_NAME edgeproof-run)
set(CPACK_DEBIAN_RUN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_RUN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_RUN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_RUN_DESCRIPTION
    "run image models on cameras, videos and images
edgeproof-run opens a bundle of edgeproof, replays its golden cases, and runs
its model on cameras, videos, folders and streams, without Python.")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "\$ORIGIN")
include(CPack)
