# The libraries:
#   hostmap_client        all that a user's process links. It holds no code that changes the table. It links nothing.
#   hostmap_c             libhostmap.so.0, the C interface of include/hostmap/hostmap.h, on the client.
#   hostmap_dump          dumps, which hostmap and hostmap-server write and read: on the client, and no part of it.
#   hostmap_server_parts  the rest: what the server, its tests and its benchmarks link.
# Sources are found by folder; a new file needs no line here.

# The path of a file shows its library (scripts/check_include_order has the same rule): these folders are the client's,
# all others the server's; and wherever both ends of a protocol are neighbours, in slot/ and connection/, a file that only one
# of them needs is called client_* or server_*.
set(client_folders base layout shm buffer wait message slot connection table/form table/read client)

file(GLOB_RECURSE all_sources CONFIGURE_DEPENDS src/*.cpp)
foreach(source IN LISTS all_sources)
  cmake_path(RELATIVE_PATH source BASE_DIRECTORY "${PROJECT_SOURCE_DIR}/src" OUTPUT_VARIABLE place)
  cmake_path(GET place PARENT_PATH folder)
  if(folder IN_LIST client_folders AND NOT place MATCHES "/server_")
    list(APPEND client_sources "${source}")
  elseif(folder STREQUAL "c_abi")
    list(APPEND c_sources "${source}")
  elseif(folder STREQUAL "dump")
    list(APPEND dump_sources "${source}")
  else()
    list(APPEND server_sources "${source}")
  endif()
endforeach()

# A static library needs one source at least.
file(CONFIGURE OUTPUT empty.cpp CONTENT "")
if(NOT client_sources)
  set(client_sources "${CMAKE_CURRENT_BINARY_DIR}/empty.cpp")
endif()
if(NOT server_sources)
  set(server_sources "${CMAKE_CURRENT_BINARY_DIR}/empty.cpp")
endif()

find_path(HOSTMAP_XXHASH_INCLUDE xxhash.h)
mark_as_advanced(HOSTMAP_XXHASH_INCLUDE)
if(NOT HOSTMAP_XXHASH_INCLUDE)
  message(FATAL_ERROR "xxhash.h not found: install libxxhash-dev (./dev setup does)")
endif()

# The commit, for hostmap::commit(): determined at each build, compiled only when it is another one.
set(commit_source "${CMAKE_CURRENT_BINARY_DIR}/commit.cpp")
add_custom_target(hostmap_commit
                  COMMAND "${CMAKE_COMMAND}" "-DSOURCE=${PROJECT_SOURCE_DIR}" "-DCOMMIT=${HOSTMAP_COMMIT}"
                          "-DTEMPLATE=${PROJECT_SOURCE_DIR}/cmake/commit.cpp.in" "-DOUTPUT=${commit_source}"
                          -P "${PROJECT_SOURCE_DIR}/cmake/write_commit.cmake"
                  BYPRODUCTS "${commit_source}"
                  VERBATIM)

add_library(hostmap_client STATIC ${client_sources} "${commit_source}")
add_dependencies(hostmap_client hostmap_commit)
add_library(hostmap::client ALIAS hostmap_client)
set_target_properties(hostmap_client PROPERTIES
                      OUTPUT_NAME hostmap
                      POSITION_INDEPENDENT_CODE ON)
target_compile_features(hostmap_client PUBLIC cxx_std_20)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # A shared object that holds a unique symbol (std::to_string has one) is never unloaded by dlclose.
  target_compile_options(hostmap_client PRIVATE -fno-gnu-unique)
endif()
# Inside another project that chooses neither a build type nor an optimisation, the library is optimised nevertheless: not
# optimised, its calls take 15 times as long. What the project chooses is kept, Debug included.
if(NOT PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  get_directory_property(inherited_options COMPILE_OPTIONS)
  if(NOT " ${CMAKE_CXX_FLAGS} ${inherited_options}" MATCHES "[ ;]-O")
    message(STATUS "hostmap: no CMAKE_BUILD_TYPE is set; the client library is compiled with -O2 -DNDEBUG")
    target_compile_options(hostmap_client PRIVATE -O2 -DNDEBUG)
  endif()
endif()
# The public headers, as a set: with the include path for whoever builds, and for cmake --install.
file(GLOB public_headers CONFIGURE_DEPENDS include/hostmap/*.hpp)
target_sources(hostmap_client PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${public_headers})
target_include_directories(hostmap_client PRIVATE src)
target_compile_definitions(hostmap_client PRIVATE HOSTMAP_LIBRARY)
target_include_directories(hostmap_client SYSTEM PRIVATE "${HOSTMAP_XXHASH_INCLUDE}")

# The C interface: a shared library whose C++ nobody sees, with the C++ runtime inside it, so that it needs libc and libgcc_s
# alone. What its version script does not name stays inside.
set(c_version_script "${PROJECT_SOURCE_DIR}/src/c_abi/hostmap.map")
add_library(hostmap_c SHARED ${c_sources})
add_library(hostmap::c ALIAS hostmap_c)
set_target_properties(hostmap_c PROPERTIES
                      OUTPUT_NAME hostmap
                      VERSION "${PROJECT_VERSION}"
                      SOVERSION 0
                      CXX_VISIBILITY_PRESET hidden
                      VISIBILITY_INLINES_HIDDEN ON
                      LINK_DEPENDS "${c_version_script}")
if(NOT PROJECT_IS_TOP_LEVEL)
  set_target_properties(hostmap_c PROPERTIES EXCLUDE_FROM_ALL ON)  # built by whoever links it
endif()
if(NOT c_sources)
  target_sources(hostmap_c PRIVATE "${CMAKE_CURRENT_BINARY_DIR}/empty.cpp")
  set_target_properties(hostmap_c PROPERTIES LINKER_LANGUAGE CXX)
endif()
target_sources(hostmap_c PUBLIC FILE_SET HEADERS BASE_DIRS include FILES include/hostmap/hostmap.h)
target_include_directories(hostmap_c PRIVATE src)
target_compile_definitions(hostmap_c PRIVATE HOSTMAP_LIBRARY)
target_link_libraries(hostmap_c PRIVATE hostmap_client)
target_link_options(hostmap_c PRIVATE "-Wl,--version-script=${c_version_script}" -Wl,--gc-sections)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(hostmap_c PRIVATE -fno-gnu-unique)
endif()
if(NOT HOSTMAP_SANITIZE)
  target_link_options(hostmap_c PRIVATE -static-libstdc++ -Wl,-z,defs)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_definitions(hostmap_c PRIVATE HOSTMAP_OWN_CXX_LIBRARY)
  endif()
endif()

if(HOSTMAP_APPS)
  find_package(fmt REQUIRED)
  # fmt::fmt is a shared library; a package of programs that brings all with it sets fmt::fmt-header-only.
  if(NOT HOSTMAP_FMT_TARGET)
    set(HOSTMAP_FMT_TARGET fmt::fmt)
  endif()
  find_package(Threads REQUIRED)
  add_library(hostmap_dump STATIC ${dump_sources})
  target_include_directories(hostmap_dump PUBLIC src)
  target_link_libraries(hostmap_dump PUBLIC hostmap_client)
  add_library(hostmap_server_parts STATIC ${server_sources})
  # src/ is open to the project's own programs and tests, never to users of hostmap::client.
  target_include_directories(hostmap_server_parts PUBLIC src)
  target_link_libraries(hostmap_server_parts PUBLIC hostmap_dump hostmap_client ${HOSTMAP_FMT_TARGET} Threads::Threads seccomp)
endif()
