# CLIP's BPE merges ship inside the open_clip_torch package; they are copied next to the programs,
# never into the repository. A site may point elsewhere with -DCLIP_BPE=<file>.
if(NOT CLIP_BPE)
  file(GLOB candidates ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/open_clip/bpe_simple_vocab_16e6.txt.gz)
  if(candidates)
    list(GET candidates 0 CLIP_BPE)
  endif()
endif()
set(CONTRAIL_SHARE ${CMAKE_BINARY_DIR}/share/contrail)
if(CLIP_BPE AND EXISTS ${CLIP_BPE})
  configure_file(${CLIP_BPE} ${CONTRAIL_SHARE}/bpe_simple_vocab_16e6.txt.gz COPYONLY)
else()
  message(WARNING "CLIP's BPE merges not found: run `make setup` or give -DCLIP_BPE=<bpe_simple_vocab_16e6.txt.gz>")
endif()
