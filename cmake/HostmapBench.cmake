# bench/main.cpp, harness/, questions/ and rivals/ -> one program, hostmap-bench.

find_package(CLI11 REQUIRED)
find_package(fmt REQUIRED)
find_package(Threads REQUIRED)
find_package(TBB REQUIRED)
find_package(absl REQUIRED)
find_package(libcuckoo REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(hiredis REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(libmemcached REQUIRED IMPORTED_TARGET libmemcached)
pkg_check_modules(lmdb REQUIRED IMPORTED_TARGET lmdb)

# boost::concurrent_flat_map needs a newer Boost than Debian 12 has. One folder of headers for the whole program: two
# versions of the same inline functions must not meet in it.
set(HOSTMAP_BOOST_HEADERS "" CACHE PATH "folder with the headers of Boost 1.84 or later; empty: the system's Boost")
if(HOSTMAP_BOOST_HEADERS)
  if(NOT EXISTS "${HOSTMAP_BOOST_HEADERS}/boost/unordered/concurrent_flat_map.hpp")
    message(FATAL_ERROR "HOSTMAP_BOOST_HEADERS=${HOSTMAP_BOOST_HEADERS} has no boost/unordered/concurrent_flat_map.hpp")
  endif()
  add_library(hostmap_bench_boost INTERFACE)
  target_include_directories(hostmap_bench_boost SYSTEM INTERFACE "${HOSTMAP_BOOST_HEADERS}")
else()
  find_package(Boost REQUIRED)
  add_library(hostmap_bench_boost ALIAS Boost::headers)
  if(Boost_VERSION VERSION_LESS 1.84)
    message(STATUS "hostmap-bench does without boost::concurrent_flat_map: Boost is ${Boost_VERSION}, not 1.84 or later")
  endif()
endif()

file(GLOB bench_sources CONFIGURE_DEPENDS bench/*.cpp bench/*/*.cpp)
if(NOT bench_sources)
  message(FATAL_ERROR "HOSTMAP_BENCH is on, but bench/ holds no source")
endif()
add_executable(hostmap-bench ${bench_sources})
set_target_properties(hostmap-bench PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
target_include_directories(hostmap-bench PRIVATE bench)
target_link_libraries(hostmap-bench PRIVATE
                      hostmap_server_parts CLI11::CLI11 fmt::fmt Threads::Threads
                      TBB::tbb absl::flat_hash_map hostmap_bench_boost libcuckoo::libcuckoo PkgConfig::hiredis
                      PkgConfig::libmemcached PkgConfig::lmdb)
# The questions `intents` and `guards` compare with servers that do without: all sources once more, those of the program as in
# HostmapPrograms.cmake.
file(GLOB server_program_parts CONFIGURE_DEPENDS apps/hostmap_server/*.cpp apps/all/*.cpp)
foreach(part IN ITEMS intents guards)
  set(program "hostmap-server-without-${part}")
  string(TOUPPER "HOSTMAP_WITHOUT_${part}" without)
  add_executable(${program} apps/hostmap_server.cpp ${server_program_parts} ${server_sources} ${dump_sources}
                 ${client_sources} "${commit_source}")
  add_dependencies(${program} hostmap_commit)
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
  target_include_directories(${program} PRIVATE apps src include)
  target_compile_definitions(${program} PRIVATE ${without})
  target_link_libraries(${program} PRIVATE CLI11::CLI11 fmt::fmt Threads::Threads seccomp)
endforeach()
# The benchmarks start the server and the load clients that lie beside them.
add_dependencies(hostmap-bench hostmap_programs hostmap-server-without-intents hostmap-server-without-guards)
