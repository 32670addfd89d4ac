# test/fuzz/NAME_fuzz.cpp -> fuzz_NAME, with libFuzzer's main; its corpus is test/fuzz/corpus/NAME. scripts/fuzz runs them.

if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "libFuzzer comes with clang: use the fuzz preset")
endif()
find_package(GTest REQUIRED)  # the tests' fixtures include its headers
file(GLOB fuzz_sources CONFIGURE_DEPENDS test/fuzz/*_fuzz.cpp)
foreach(source IN LISTS fuzz_sources)
  cmake_path(GET source STEM stem)
  string(REGEX REPLACE "_fuzz$" "" name "${stem}")
  add_executable(fuzz_${name} "${source}" test/support/instance.cpp)
  target_include_directories(fuzz_${name} PRIVATE test)
  target_link_libraries(fuzz_${name} PRIVATE hostmap_server_parts GTest::gtest)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
endforeach()
