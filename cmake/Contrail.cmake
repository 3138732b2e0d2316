# How this tree builds: one static library per folder, sources by glob (a new .cc needs no edit),
# tests/<folder>/*_test.cc as one program per folder.

add_library(contrail_flags INTERFACE)
target_compile_options(contrail_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-missing-field-initializers
  $<$<BOOL:${CONTRAIL_WERROR}>:-Werror>
  # Functions and lines are what a stack trace needs; the rest is a quarter of the compile time.
  $<$<CONFIG:RelWithDebInfo>:-g1>)
if(CONTRAIL_SANITIZE)
  target_compile_options(contrail_flags INTERFACE -O0 -g1 -fsanitize=${CONTRAIL_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # Asks the kernel by a pipe whether memory can be read, and is wrong where no descriptor is left.
  if(CONTRAIL_SANITIZE MATCHES "undefined")
    target_compile_options(contrail_flags INTERFACE -fno-sanitize=vptr)
  endif()
  target_link_options(contrail_flags INTERFACE -fsanitize=${CONTRAIL_SANITIZE})
endif()

# contrail_library(NAME [PUBLIC targets...] [PRIVATE targets...] [EXCLUDE files...] [DIRS subfolders...])
function(contrail_library name)
  cmake_parse_arguments(ARG "" "" "PUBLIC;PRIVATE;EXCLUDE;DIRS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  foreach(dir IN LISTS ARG_DIRS)
    file(GLOB more CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${dir}/*.cc)
    list(APPEND sources ${more})
  endforeach()
  foreach(file IN LISTS ARG_EXCLUDE)
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  endforeach()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} contrail_flags)
endfunction()

# contrail_tests(FOLDER label LINK targets...): builds tests/FOLDER/*_test.cc into FOLDER_tests.
# Each GoogleTest suite becomes one ctest entry (a process per suite, not per case: LibTorch
# takes a second to load). Tests may find the tree in CONTRAIL_SOURCE_DIR and the programs in
# CONTRAIL_BINARY_DIR.
function(contrail_tests folder label)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*_test.cc)
  file(GLOB helpers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*.cc)
  list(FILTER helpers EXCLUDE REGEX "_test.cc$")
  if(CONTRAIL_ONLY_TESTS)
    list(FILTER sources INCLUDE REGEX "/(${CONTRAIL_ONLY_TESTS})_test.cc$")
  endif()
  if(NOT sources)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set(target ${folder}_tests)
  add_executable(${target} ${sources} ${helpers})
  target_link_libraries(${target} PRIVATE ${ARG_LINK} contrail_flags GTest::gmock GTest::gtest_main)
  target_compile_definitions(${target} PRIVATE
    CONTRAIL_SOURCE_DIR="${CMAKE_SOURCE_DIR}" CONTRAIL_BINARY_DIR="${CMAKE_BINARY_DIR}")
  set(suites "")
  foreach(source IN LISTS sources)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
    file(STRINGS ${source} lines REGEX "^(TEST|TEST_F|TEST_P)\\(")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE "^TEST[_FP]*\\(([A-Za-z0-9_]+),.*" "\\1" suite "${line}")
      list(APPEND suites ${suite})
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES suites)
  set(without "")
  set(sanitizer "")
  if(CONTRAIL_SANITIZE)
    # Limits of time mean nothing then, and two suites go through so many states that they take minutes.
    set(without ":-*IsCheap*:*InTwoSeconds*:CrashStates.*:Elastic.*")
    # Threads that hang in a file system are left behind on purpose, with what they use.
    set(sanitizer ";ASAN_OPTIONS=detect_leaks=0")
  endif()
  foreach(suite IN LISTS suites)
    add_test(NAME ${folder}.${suite} COMMAND ${target} --gtest_filter=${suite}.*:*/${suite}.*${without})
    set_tests_properties(${folder}.${suite} PROPERTIES LABELS ${label} TIMEOUT ${ARG_TIMEOUT}
      ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMP_WAIT_POLICY=passive${sanitizer}")
  endforeach()
endfunction()
