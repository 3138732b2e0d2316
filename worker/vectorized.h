#pragma once

// A version of the loop for each width of vector unit, chosen when the program starts.
#define CONTRAIL_VECTORIZED \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
