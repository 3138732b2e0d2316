# LibTorch from the pinned Python wheel in .venv (or -DTORCH_DIR=.../torch of a site's own).
# Only libtorch_cpu and libc10 are linked: find_package(Torch) would pull CUDA into every process
# (185 MB of private memory a rank instead of 63).
if(NOT TORCH_DIR)
  file(GLOB candidates ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  if(candidates)
    list(GET candidates 0 TORCH_DIR)
  endif()
endif()
if(NOT CONTRAIL_WORKER)
  return()
endif()
if(NOT EXISTS ${TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch not found: run `make setup`, or give -DTORCH_DIR=<the wheel's torch folder>, "
                      "or build the launcher alone with -DCONTRAIL_WORKER=OFF")
endif()
set(TORCH_DIR ${TORCH_DIR} CACHE PATH "the torch folder of the wheel (holds include/ and lib/)")
message(STATUS "LibTorch: ${TORCH_DIR}")

add_library(c10 SHARED IMPORTED)
set_target_properties(c10 PROPERTIES IMPORTED_LOCATION ${TORCH_DIR}/lib/libc10.so)
add_library(torch_cpu SHARED IMPORTED)
set_target_properties(torch_cpu PROPERTIES IMPORTED_LOCATION ${TORCH_DIR}/lib/libtorch_cpu.so)
target_include_directories(torch_cpu SYSTEM INTERFACE
  ${TORCH_DIR}/include ${TORCH_DIR}/include/torch/csrc/api/include)
target_compile_definitions(torch_cpu INTERFACE _GLIBCXX_USE_CXX11_ABI=1 USE_DISTRIBUTED USE_C10D)
# at::parallel_for is inline and serial where OpenMP is off; the runtime is torch's own copy, so that
# one pool of threads serves both.
add_library(torch_gomp SHARED IMPORTED)
set_target_properties(torch_gomp PROPERTIES IMPORTED_LOCATION ${TORCH_DIR}/lib/libgomp.so.1)
target_compile_options(torch_cpu INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
target_link_libraries(torch_cpu INTERFACE c10 torch_gomp Threads::Threads)
# Libraries that libtorch_cpu itself needs sit beside it in the wheel's layout.
target_link_options(torch_cpu INTERFACE
  -Wl,-rpath-link,${TORCH_DIR}/lib -Wl,-rpath-link,${TORCH_DIR}/../nvidia/cu13/lib)
