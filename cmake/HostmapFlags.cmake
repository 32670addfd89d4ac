# Flags of every hostmap target. They are set by directory, so that a project which adds hostmap as
# a subdirectory keeps its own.

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug or RelWithDebInfo" FORCE)
  endif()
  # Portable on purpose: no -march=native. What needs SSE2, AVX2 or AVX-512 chooses at run time.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g -DNDEBUG")
  # A put passes through eight files on its way to the bucket. Optimised as one program it takes the worker 23 ns instead of
  # 34 (one client, table in cache, callgrind: 20 % fewer instructions). Fat objects, so that libhostmap.a links anywhere.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT HOSTMAP_SANITIZE AND NOT HOSTMAP_COVERAGE)
    string(APPEND CMAKE_CXX_FLAGS_RELWITHDEBINFO " -flto=auto -ffat-lto-objects")
  endif()
  # -O1 keeps the tests of `./dev test` inside two minutes; asserts are on.
  set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g")
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

  # Paths are written relative to the source folder: the same build in two clones gives the same
  # files, so that ccache serves one clone from another.
  add_compile_options("-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.")
  find_program(HOSTMAP_CCACHE ccache)
  mark_as_advanced(HOSTMAP_CCACHE)
  if(HOSTMAP_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    # The sloppiness is what ccache requires to serve files that use precompiled headers.
    set(CMAKE_CXX_COMPILER_LAUNCHER env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}"
                                        "CCACHE_SLOPPINESS=pch_defines,time_macros" "${HOSTMAP_CCACHE}")
  endif()
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

add_compile_options(-Wall -Wextra -Wconversion -Wshadow)
if(HOSTMAP_WERROR)
  add_compile_options(-Werror)
endif()

if(HOSTMAP_SANITIZE)
  # A finding ends the program: a test must not pass with one.
  add_compile_options("-fsanitize=${HOSTMAP_SANITIZE}" -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options("-fsanitize=${HOSTMAP_SANITIZE}")
  if(HOSTMAP_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC warns of each fence, which its thread sanitizer cannot follow. The code has a variant
    # that it can (chosen by __SANITIZE_THREAD__).
    add_compile_options(-Wno-tsan)
  endif()
endif()

if(HOSTMAP_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()

if(HOSTMAP_INFINITE_TIMEOUTS)
  add_compile_definitions(HOSTMAP_INFINITE_TIMEOUTS)
endif()
