# cmake --install: what another project needs to use hostmap (README: Using it from your project).
#   include/hostmap/, libhostmap.a            the client library, which links nothing
#   include/hostmap/hostmap.h, libhostmap.so  the C interface
#   lib/cmake/hostmap/                        find_package(hostmap): the targets hostmap::client and hostmap::c
#   lib/pkgconfig/hostmap.pc, hostmap-c.pc    the same for everything that is not CMake
#   bin/                                      the programs, if they were built
# All of it finds itself by where it lies: the prefix may be moved.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/hostmap")

set_target_properties(hostmap_client PROPERTIES EXPORT_NAME client)
install(TARGETS hostmap_client
        EXPORT hostmap-targets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
set_target_properties(hostmap_c PROPERTIES EXPORT_NAME c)
install(TARGETS hostmap_c
        EXPORT hostmap-targets
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT hostmap-targets NAMESPACE hostmap:: DESTINATION "${package_dir}")

configure_package_config_file(cmake/hostmap-config.cmake.in hostmap-config.cmake
                              INSTALL_DESTINATION "${package_dir}"
                              NO_SET_AND_CHECK_MACRO)
# Below 1.0 a minor version may break what was there.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)
else()
  set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file(hostmap-config-version.cmake COMPATIBILITY ${compatibility})
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/hostmap-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/hostmap-config-version.cmake"
        DESTINATION "${package_dir}")

file(RELATIVE_PATH pc_to_prefix "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH pc_libdir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH pc_includedir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
# Both libraries are called hostmap: of two such files the linker takes the shared one, so C++ names the archive.
foreach(pc_file hostmap hostmap-c)
  if(pc_file STREQUAL "hostmap")
    set(pc_library "-l:libhostmap.a")
    set(pc_description "${PROJECT_DESCRIPTION}: the C++ interface")
  else()
    set(pc_library "-lhostmap")
    set(pc_description "${PROJECT_DESCRIPTION}: the C interface")
  endif()
  configure_file(cmake/hostmap.pc.in ${pc_file}.pc @ONLY)
endforeach()
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/hostmap.pc" "${CMAKE_CURRENT_BINARY_DIR}/hostmap-c.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(FILES LICENSE apps/systemd/hostmap@.service DESTINATION "${CMAKE_INSTALL_DOCDIR}")

if(HOSTMAP_APPS)
  get_property(programs GLOBAL PROPERTY HOSTMAP_PROGRAM_TARGETS)
  install(TARGETS ${programs} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
