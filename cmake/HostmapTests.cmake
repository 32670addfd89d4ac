# Tests:
#   test/FOLDER/*_test.cpp and     -> one GoogleTest binary, test_FOLDER; ctest knows each test as
#   test/FOLDER/*/*_test.cpp          FOLDER.Suite.Name
#   examples/cpp/*.cpp             -> examples/NAME, which test/process/clients/examples_test.cpp runs
#   examples/c/*.c                 -> likewise examples/c/NAME
#   test/process/harness           -> what the process tests share: starting programs, raw connections
#   test/process/programs/*.cpp    -> helper programs, each named as its file, beside hostmap-server
#   test/process/preload/*.cpp     -> likewise NAME.so, for LD_PRELOAD
#   test/process/modules/*.cpp     -> likewise NAME.so, which contains the client library, for dlopen
#   test/c_abi/programs             -> programs that use libhostmap.so, in C and C++, beside hostmap-server
#   test/models                    -> models of the protocols: model.NAME.quick and model.NAME.full (soak)
#   scripts/check_*                -> style.NAME, and style.NAME.canary: the check must fail on a
#                                     bad tree
#   scripts/check_client_library   -> library.client
#   scripts/check_abi              -> library.abi
#   test/client/must_not_compile   -> library.misuse: what the public headers must refuse
#   test/package/package_test      -> package.WAY: README's program, built by a user's project; needs the programs
#   test/conformance             -> conformance.TESTEE, conformance.pairs: the cases for clients of all languages;
#                                     conformance.random: random operations of pairs, beside a model
#   test/package/systemd_test      -> package.systemd: the unit under a real systemd; needs the programs
#
# Labels:   quick    all others
#           slow     "Slow" in the suite's or test's name
#           soak     "Soak" in it: hours, by hand
#           process  all in test/process, test/client and test/c_abi: they start hostmap's programs
#           model, library, package, conformance, style   those of that name
# and those that test/labels.txt gives, a line each: LABEL REGULAR-EXPRESSION [# why]. Of these,
#           no_asan, no_tsan, no_infinite   keep a test out of that build of `./dev test all`
#           serial                          nothing else runs beside it
#
# Targets:  hostmap_tests             all of it
#           hostmap_unit_tests        the binaries without label process
#           hostmap_process_programs  what the others start. Their tests need not be built again for
#                                     each build: HOSTMAP_PROGRAMS names another one's folder.
#
# Each test gets HOSTMAP_BIN_DIR (where the programs lie) and HOSTMAP_SOURCE_DIR.

find_package(GTest REQUIRED)
include(GoogleTest)

set(test_binary_dir "${PROJECT_BINARY_DIR}/test")
set(test_labels_file "${PROJECT_SOURCE_DIR}/test/labels.txt")
set(test_environment
    "HOSTMAP_BIN_DIR=${PROJECT_BINARY_DIR}"
    "HOSTMAP_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
# Costs: what takes long begins first.
set(quick_cost 1)
set(slow_cost 200)
set(soak_cost 200)
set(quick_timeout_seconds 120)
set(slow_timeout_seconds 600)
set(soak_timeout_seconds 43200)
# Of tests that compile what others build: how long that takes depends on what else the machine does.
set(compiling_timeout_seconds 7200)
if(HOSTMAP_SANITIZE)
  set(quick_timeout_seconds 300)
  set(slow_timeout_seconds 1200)
  # 86: a sanitizer's finding must differ from every exit code that hostmap's programs use.
  list(APPEND test_environment
       "ASAN_OPTIONS=exitcode=86"
       "UBSAN_OPTIONS=exitcode=86:print_stacktrace=1"
       "TSAN_OPTIONS=exitcode=86:halt_on_error=1:second_deadlock_stack=1:die_after_fork=0")
endif()

set(process_folders process client c_abi)
add_custom_target(hostmap_process_programs)
add_custom_target(hostmap_unit_tests)
add_custom_target(hostmap_tests)
add_dependencies(hostmap_process_programs hostmap_programs)
add_dependencies(hostmap_tests hostmap_process_programs hostmap_unit_tests)

# What all tests share, and the main() that compares /dev/shm before and after each test.
file(GLOB support_sources CONFIGURE_DEPENDS test/support/*.cpp test/process/harness/*.cpp)
set(support_main "${PROJECT_SOURCE_DIR}/test/support/main.cpp")
list(FILTER support_sources EXCLUDE REGEX "(/main|_test)\\.cpp$")
if(support_sources)
  add_library(hostmap_test_support STATIC ${support_sources})
  set(support_scope PUBLIC)
else()
  add_library(hostmap_test_support INTERFACE)
  set(support_scope INTERFACE)
endif()
target_include_directories(hostmap_test_support ${support_scope} test)
target_link_libraries(hostmap_test_support ${support_scope}
                      hostmap_server_parts GTest::gtest GTest::gmock)
# Half of what compiling a test takes is GoogleTest's headers: they are compiled once.
if(support_sources)
  target_precompile_headers(hostmap_test_support PRIVATE
                            <gtest/gtest.h> <chrono> <filesystem> <functional> <string> <thread> <vector>)
endif()
if(EXISTS "${support_main}")
  add_library(hostmap_test_main OBJECT "${support_main}")
  target_link_libraries(hostmap_test_main PUBLIC hostmap_test_support)
else()
  add_library(hostmap_test_main INTERFACE)
  target_link_libraries(hostmap_test_main INTERFACE GTest::gtest_main)
endif()

# Helper programs of the process tests.
file(GLOB program_sources CONFIGURE_DEPENDS test/process/programs/*.cpp)
foreach(source IN LISTS program_sources)
  cmake_path(GET source STEM program)
  add_executable(${program} "${source}")
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
  target_link_libraries(${program} PRIVATE hostmap_test_support)
  add_dependencies(hostmap_process_programs ${program})
endforeach()

file(GLOB preload_sources CONFIGURE_DEPENDS test/process/preload/*.cpp)
foreach(source IN LISTS preload_sources)
  cmake_path(GET source STEM library)
  add_library(${library} MODULE "${source}")
  set_target_properties(${library} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
  add_dependencies(hostmap_process_programs ${library})
endforeach()

file(GLOB module_sources CONFIGURE_DEPENDS test/process/modules/*.cpp)
foreach(source IN LISTS module_sources)
  cmake_path(GET source STEM library)
  add_library(${library} MODULE "${source}")
  set_target_properties(${library} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
  target_link_libraries(${library} PRIVATE hostmap_client)
  add_dependencies(hostmap_process_programs ${library})
endforeach()

# Programs of the tests of the C interface. One of them is in strict C.
enable_language(C)
file(GLOB c_abi_sources CONFIGURE_DEPENDS test/c_abi/programs/*.c test/c_abi/programs/*.cpp)
foreach(source IN LISTS c_abi_sources)
  cmake_path(GET source STEM program)
  add_executable(${program} "${source}")
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}"
                                              C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
  target_compile_options(${program} PRIVATE $<$<COMPILE_LANGUAGE:C>:-pedantic -Werror>)
  add_dependencies(hostmap_process_programs ${program})
  if(program STREQUAL "c_library_host")
    target_include_directories(${program} PRIVATE include)  # it loads the library itself
  else()
    target_include_directories(${program} PRIVATE test)
    target_link_libraries(${program} PRIVATE hostmap_c)
  endif()
endforeach()

# Testees of the conformance suite, which its runner starts: test/conformance.
add_executable(conformance_cpp test/conformance/testees/cpp.cpp)
set_target_properties(conformance_cpp PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
target_link_libraries(conformance_cpp PRIVATE hostmap_client)
add_executable(conformance_c test/conformance/testees/c.c)
set_target_properties(conformance_c PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}"
                                               C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
find_package(Threads REQUIRED)
target_link_libraries(conformance_c PRIVATE hostmap_c Threads::Threads)
add_custom_target(conformance_testees)
add_dependencies(conformance_testees hostmap_programs conformance_cpp conformance_c)
add_dependencies(hostmap_process_programs conformance_testees)

# The examples, which a process test runs: examples/NAME in the build folder.
add_subdirectory(examples/cpp examples)
get_property(examples DIRECTORY examples/cpp PROPERTY BUILDSYSTEM_TARGETS)
add_dependencies(hostmap_process_programs ${examples})
add_subdirectory(examples/c examples/c)
get_property(examples DIRECTORY examples/c PROPERTY BUILDSYSTEM_TARGETS)
add_dependencies(hostmap_process_programs ${examples})

# hostmap_add_test_binary(FOLDER SOURCE…)
function(hostmap_add_test_binary folder)
  set(binary test_${folder})
  add_executable(${binary} ${ARGN})
  set_target_properties(${binary} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${test_binary_dir}")
  target_link_libraries(${binary} PRIVATE hostmap_test_main hostmap_test_support)
  if(support_sources)
    target_precompile_headers(${binary} REUSE_FROM hostmap_test_support)
  endif()
  if(folder IN_LIST process_folders)
    set(folder_is_process TRUE)
    add_dependencies(hostmap_tests ${binary})
  else()
    set(folder_is_process FALSE)
    add_dependencies(hostmap_unit_tests ${binary})
  endif()
  gtest_discover_tests(${binary}
                       TEST_PREFIX "${folder}."
                       NO_PRETTY_VALUES
                       TEST_LIST discovered_tests
                       DISCOVERY_MODE PRE_TEST
                       DISCOVERY_TIMEOUT 120)
  # The tests are known only when ctest asks the binary for them, so they get their labels there.
  set(properties_file "${test_binary_dir}/${binary}_properties.cmake")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/test_properties.cmake.in" "${properties_file}" @ONLY)
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${properties_file}")
endfunction()

file(GLOB test_sources RELATIVE "${PROJECT_SOURCE_DIR}" CONFIGURE_DEPENDS test/*/*_test.cpp test/*/*/*_test.cpp)
set(test_folders)
foreach(source IN LISTS test_sources)
  string(REGEX REPLACE "^test/([^/]*)/.*$" "\\1" folder "${source}")
  list(APPEND test_folders "${folder}")
endforeach()
list(REMOVE_DUPLICATES test_folders)
foreach(folder IN LISTS test_folders)
  set(folder_sources "${test_sources}")
  list(FILTER folder_sources INCLUDE REGEX "^test/${folder}/")
  if(folder STREQUAL "apps")
    # Parts of the programs, which are in no library.
    list(APPEND folder_sources apps/hostmap_server/line_writer.cpp apps/all/write_all.cpp)
  endif()
  hostmap_add_test_binary(${folder} ${folder_sources})
endforeach()
target_include_directories(test_apps PRIVATE apps)
target_link_libraries(test_c_abi PRIVATE hostmap_c)
target_compile_definitions(test_c_abi PRIVATE "HOSTMAP_C_LIBRARY=\"$<TARGET_FILE:hostmap_c>\"")

# hostmap_add_test(KIND NAME TIER COMMAND…): a test that is not of GoogleTest: its name is KIND.NAME,
# its labels are KIND (model, library, package, style) and TIER (quick, slow).
function(hostmap_add_test kind name tier)
  set(watchdog ${tier})
  if(kind STREQUAL "library" OR kind STREQUAL "package")
    set(watchdog compiling)
  endif()
  add_test(NAME ${kind}.${name} COMMAND ${ARGN} COMMAND_EXPAND_LISTS)
  set_tests_properties(${kind}.${name} PROPERTIES
                       LABELS "${kind};${tier}"
                       TIMEOUT ${${watchdog}_timeout_seconds}
                       COST ${${tier}_cost}
                       ENVIRONMENT "${test_environment}")
endfunction()

# Models: exit code 0 is a pass.
add_subdirectory(test/models)
get_property(model_programs DIRECTORY test/models PROPERTY BUILDSYSTEM_TARGETS)
add_dependencies(hostmap_tests ${model_programs})

# What the client library may not call. Instruments call more.
if(NOT HOSTMAP_SANITIZE AND NOT HOSTMAP_COVERAGE)
  set(script "${PROJECT_SOURCE_DIR}/scripts/check_client_library")
  hostmap_add_test(library client quick "${script}" "$<TARGET_FILE:hostmap_client>" "$<TARGET_OBJECTS:hostmap_c>")
  hostmap_add_test(library client.canary quick "${script}" --self-test)
  # What programs that were linked with an earlier libhostmap.so.0 rely on.
  set(script "${PROJECT_SOURCE_DIR}/scripts/check_abi")
  hostmap_add_test(library abi quick "${script}" "$<TARGET_FILE:hostmap_c>")
  hostmap_add_test(library abi.canary quick "${script}" --self-test)
endif()

# How others use the library; builds with instruments are not part of that. Most of it is compiling: slow.
if(NOT HOSTMAP_SANITIZE AND NOT HOSTMAP_COVERAGE)
  set(script "${PROJECT_SOURCE_DIR}/test/client/must_not_compile/check_misuse")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    hostmap_add_test(library misuse slow "${script}" --compiler "${CMAKE_CXX_COMPILER}")
    hostmap_add_test(library misuse.canary slow "${script}" --self-test --compiler "${CMAKE_CXX_COMPILER}")
  endif()

  set(script "${PROJECT_SOURCE_DIR}/test/package/headers_test")
  hostmap_add_test(library headers slow "${script}")
  hostmap_add_test(library headers.canary slow "${script}" --self-test)

  set(script "${PROJECT_SOURCE_DIR}/test/package/package_test")
  foreach(way find_package add_subdirectory pkg_config c_find_package c_pkg_config)
    hostmap_add_test(package ${way} slow "${script}" "${PROJECT_BINARY_DIR}" ${way})
    set_tests_properties(package.${way} PROPERTIES SKIP_RETURN_CODE 77)
  endforeach()
  set(readme_script "${PROJECT_SOURCE_DIR}/test/package/readme_test")
  hostmap_add_test(package readme slow "${readme_script}" "${PROJECT_BINARY_DIR}")
  hostmap_add_test(package readme.canary quick "${readme_script}" --self-test)
  set_tests_properties(package.readme PROPERTIES SKIP_RETURN_CODE 77)
  hostmap_add_test(package systemd slow "${PROJECT_SOURCE_DIR}/test/package/systemd_test" "${PROJECT_BINARY_DIR}")
  set_tests_properties(package.systemd PROPERTIES SKIP_RETURN_CODE 77)
  hostmap_add_test(package canary slow "${script}" "${PROJECT_BINARY_DIR}" --self-test)
endif()

# The cases for clients of all languages. They wait more than they compute.
set(script "${PROJECT_SOURCE_DIR}/test/conformance/runner")
set(testees cpp c command_line)
set(all_testees)
foreach(testee IN LISTS testees)
  list(APPEND all_testees --testee ${testee})
  hostmap_add_test(conformance ${testee} slow "${script}" --build "${PROJECT_BINARY_DIR}" --testee ${testee})
endforeach()
hostmap_add_test(conformance pairs slow "${script}" --build "${PROJECT_BINARY_DIR}" --pairs ${all_testees})
hostmap_add_test(conformance random slow "${script}" --build "${PROJECT_BINARY_DIR}" --random 30 ${all_testees})
hostmap_add_test(conformance canary slow "${script}" --build "${PROJECT_BINARY_DIR}" --self-test)

# Style: fast enough to be quick tests.
hostmap_add_test(style seeded_bugs quick "${PROJECT_SOURCE_DIR}/scripts/seeded_bugs" --check)
file(GLOB readme CONFIGURE_DEPENDS README.md)
if(readme)
  set(script "${PROJECT_SOURCE_DIR}/scripts/bench_report")
  hostmap_add_test(style headlines quick "${script}" --check)
  hostmap_add_test(style headlines.canary quick "${script}" --self-test)
endif()
hostmap_add_test(style c_reference quick "${PROJECT_SOURCE_DIR}/scripts/c_reference" --check)
hostmap_add_test(style c_reference.canary quick "${PROJECT_SOURCE_DIR}/scripts/c_reference" --self-test)
foreach(check include_order sync_tags descriptors documents wording)
  set(script "${PROJECT_SOURCE_DIR}/scripts/check_${check}")
  hostmap_add_test(style ${check}.canary quick "${script}" --self-test)
  if(readme OR NOT check MATCHES "^(documents|wording)$")
    hostmap_add_test(style ${check} quick "${script}" "${PROJECT_SOURCE_DIR}")
  endif()
endforeach()
