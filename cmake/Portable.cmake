# The installed programs run on older systems than the one they are built on: with glibc 2.34 and GCC
# 11's libstdc++ (RHEL 9, Ubuntu 22.04). Two things of Debian 12 ask for a newer libstdc++:
# std::condition_variable::wait, which they bring themselves, and libicuuc.so, whose archive they link
# where there is one. tests/install/release_test.py looks at every symbol version.
option(CONTRAIL_PORTABLE "the installed programs run with an older libstdc++ than this one" ON)

add_library(contrail_icu INTERFACE)
if(CONTRAIL_PORTABLE AND ICU_UC_LIBRARY_RELEASE)
  get_filename_component(icu ${ICU_UC_LIBRARY_RELEASE} DIRECTORY)  # the same ICU's, or none
endif()
# By program: 32 MB of tables are too much for every test.
if(icu AND EXISTS ${icu}/libicuuc.a AND EXISTS ${icu}/libicudata.a)
  set(bring $<BOOL:$<TARGET_PROPERTY:CONTRAIL_BRINGS_ICU>>)
  target_include_directories(contrail_icu SYSTEM INTERFACE ${ICU_INCLUDE_DIRS})
  target_link_libraries(contrail_icu INTERFACE
    "$<IF:${bring},${icu}/libicuuc.a,ICU::uc>" "$<${bring}:${icu}/libicudata.a>"
    Threads::Threads ${CMAKE_DL_LIBS})
else()
  target_link_libraries(contrail_icu INTERFACE ICU::uc)
endif()

# contrail_portable(PROGRAM)
function(contrail_portable program)
  if(CONTRAIL_PORTABLE AND NOT CONTRAIL_SANITIZE)
    set_target_properties(${program} PROPERTIES CONTRAIL_BRINGS_ICU ON)
    target_sources(${program} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/portable/condition_variable_wait.cc)
    set_source_files_properties(${CMAKE_SOURCE_DIR}/cmake/portable/condition_variable_wait.cc
      TARGET_DIRECTORY ${program} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()
