help([[Contrail: trains CLIP models on GPU clusters. `contrail --help` says more.]])
whatis("Name: contrail")
whatis("Description: CLIP training with supervised restarts and exact resume")
-- share/contrail/modulefiles/contrail/<version>.lua -> the installed tree
local root = myFileName():gsub("/share/contrail/modulefiles/.*$", "")
prepend_path("PATH", pathJoin(root, "bin"))
prepend_path("MANPATH", pathJoin(root, "share/man"))
