# A relocatable tree: bin/ lib/ share/contrail/, RUNPATH relative to $ORIGIN.
