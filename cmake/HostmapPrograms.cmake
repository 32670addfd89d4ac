# apps/hostmap_server.cpp -> hostmap-server and so on, directly in the build folder. What a program has besides lies in a
# folder of its name: apps/hostmap/*.cpp belong to apps/hostmap.cpp. apps/all/*.cpp belong to every program.

find_package(CLI11 REQUIRED)

add_custom_target(hostmap_programs)
file(GLOB app_sources CONFIGURE_DEPENDS apps/*.cpp)
file(GLOB common_parts CONFIGURE_DEPENDS apps/all/*.cpp)
foreach(source IN LISTS app_sources)
  cmake_path(GET source STEM stem)
  string(REPLACE "_" "-" program "${stem}")
  file(GLOB program_parts CONFIGURE_DEPENDS apps/${stem}/*.cpp)
  add_executable(${program} "${source}" ${program_parts} ${common_parts})
  target_include_directories(${program} PRIVATE apps)
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
  target_link_libraries(${program} PRIVATE CLI11::CLI11 ${HOSTMAP_FMT_TARGET})
  # Only the server can change a table: the other programs do not even link the code for it.
  if(program STREQUAL "hostmap-server")
    target_link_libraries(${program} PRIVATE hostmap_server_parts)
  else()
    target_link_libraries(${program} PRIVATE hostmap_dump hostmap_client)
    target_include_directories(${program} PRIVATE src)
  endif()
  add_dependencies(hostmap_programs ${program})
  set_property(GLOBAL APPEND PROPERTY HOSTMAP_PROGRAM_TARGETS ${program})  # for cmake --install
endforeach()
