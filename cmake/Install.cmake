# A relocatable tree: bin/ lib/ share/, found by $ORIGIN only. LibTorch keeps the wheel's layout
# (its own RPATH is relative to it); -DCONTRAIL_INSTALL_TORCH=OFF leaves it where it is and bakes
# that path in, for sites whose LibTorch is a module.
option(CONTRAIL_INSTALL_TORCH "copy LibTorch's CPU libraries into the installed tree" ON)

# What was linked from outside this tree (a Spack MPI or HDF5) is found again; $ORIGIN comes first.
set_target_properties(contrail PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS contrail RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
set(apache /usr/share/common-licenses/Apache-2.0)
if(EXISTS ${apache})
  install(FILES ${apache} DESTINATION share/doc/contrail RENAME LICENSE)
else()
  install(FILES LICENSE DESTINATION share/doc/contrail)
endif()
install(FILES ${CONTRAIL_SHARE}/bpe_simple_vocab_16e6.txt.gz DESTINATION share/contrail)
install(DIRECTORY configs/presets DESTINATION share/contrail)
install(DIRECTORY slurm/ DESTINATION share/contrail/slurm FILES_MATCHING PATTERN "*.sbatch" PATTERN "*.toml")

if(CONTRAIL_WORKER)
  set(torch_lib lib/contrail/torch/lib)
  if(CONTRAIL_INSTALL_TORCH)
    set(rpath "$ORIGIN/../${torch_lib}")
    install(FILES ${TORCH_DIR}/lib/libtorch_cpu.so ${TORCH_DIR}/lib/libc10.so
      ${TORCH_DIR}/lib/libgomp.so.1 DESTINATION ${torch_lib})
    file(GLOB beside ${TORCH_DIR}/../nvidia/cu13/lib/libcudart.so.13
      ${TORCH_DIR}/../nvidia/cu13/lib/libcupti.so.13)
    install(FILES ${beside} DESTINATION lib/contrail/nvidia/cu13/lib)
  else()
    set(rpath ${TORCH_DIR}/lib)
  endif()
  set_target_properties(contrail-worker PROPERTIES INSTALL_RPATH "${rpath}"
    INSTALL_RPATH_USE_LINK_PATH ON)
  install(TARGETS contrail-worker RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# The manual page and completions are printed by the program itself.
install(CODE "
  file(MAKE_DIRECTORY \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share/man/man1\"
    \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share/bash-completion/completions\")
  execute_process(COMMAND ${CMAKE_BINARY_DIR}/bin/contrail help --man
    OUTPUT_FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share/man/man1/contrail.1\" COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${CMAKE_BINARY_DIR}/bin/contrail completion bash
    OUTPUT_FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share/bash-completion/completions/contrail\" COMMAND_ERROR_IS_FATAL ANY)
")
# An Lmod module file that finds the tree relative to itself.
install(FILES cmake/contrail.lua DESTINATION share/contrail/modulefiles/contrail RENAME ${PROJECT_VERSION}.lua)
