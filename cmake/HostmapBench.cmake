# bench/*.cpp and bench/rivals/*.cpp -> one program, hostmap-bench.

find_package(CLI11 REQUIRED)
find_package(fmt REQUIRED)
find_package(Threads REQUIRED)
find_package(TBB REQUIRED)
find_package(absl REQUIRED)
find_package(Boost REQUIRED)
find_package(libcuckoo REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(hiredis REQUIRED IMPORTED_TARGET hiredis)

file(GLOB bench_sources CONFIGURE_DEPENDS bench/*.cpp bench/rivals/*.cpp)
if(NOT bench_sources)
  message(FATAL_ERROR "HOSTMAP_BENCH is on, but bench/ holds no source")
endif()
add_executable(hostmap-bench ${bench_sources})
set_target_properties(hostmap-bench PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
target_include_directories(hostmap-bench PRIVATE bench)
target_compile_definitions(hostmap-bench PRIVATE "HOSTMAP_VERSION=\"${PROJECT_VERSION}\"")
target_link_libraries(hostmap-bench PRIVATE
                      hostmap_server_parts CLI11::CLI11 fmt::fmt Threads::Threads
                      TBB::tbb absl::flat_hash_map Boost::headers libcuckoo::libcuckoo PkgConfig::hiredis)
# The question `intents` compares with a server that writes none: all sources once more.
add_executable(hostmap-server-without-intents apps/hostmap_server.cpp ${server_sources} ${client_sources})
set_target_properties(hostmap-server-without-intents PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
target_include_directories(hostmap-server-without-intents PRIVATE apps src include)
target_compile_definitions(hostmap-server-without-intents PRIVATE
                           "HOSTMAP_VERSION=\"${PROJECT_VERSION}\"" HOSTMAP_WITHOUT_INTENTS)
target_link_libraries(hostmap-server-without-intents PRIVATE CLI11::CLI11 fmt::fmt Threads::Threads seccomp)
# The benchmarks start the server and the load clients that lie beside them.
add_dependencies(hostmap-bench hostmap_programs hostmap-server-without-intents)
