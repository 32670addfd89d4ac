# test/fuzz/NAME_fuzz.cpp -> fuzz_NAME, with libFuzzer's main.

if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "libFuzzer comes with clang: use the fuzz preset")
endif()
file(GLOB fuzz_sources CONFIGURE_DEPENDS test/fuzz/*_fuzz.cpp)
foreach(source IN LISTS fuzz_sources)
  cmake_path(GET source STEM stem)
  string(REGEX REPLACE "_fuzz$" "" name "${stem}")
  add_executable(fuzz_${name} "${source}")
  target_link_libraries(fuzz_${name} PRIVATE hostmap_server_parts)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
endforeach()
