#pragma once
// "The same ranks give the same bits" has two conditions that no key of the config names: how many
// samples a rank encodes at once, which follows from memory, and the instruction set that its
// processor offers. Checkpoints record both; a resume keeps the first and tells of the second.

#include <string>
#include <vector>

#include "checkpoint/state.h"
#include "worker/comm/comm.h"
#include "worker/micro_batch.h"

namespace contrail::worker {

// Collective. The instruction sets that ranks compute with, each once: "avx512", "avx2+avx512".
// `narrow`: products are of 16-bit numbers.
std::string InstructionSets(Comm& comm, bool narrow);

// Collective. Ranks of crowded nodes have less memory: all take the smallest of what they chose.
MicroBatch SmallestMicroBatch(Comm& comm, MicroBatch own);

// The micro-batch of `before` where a run that goes on at `ranks` ranks and this resolution can
// repeat its bits; 0 where nobody knows it.
int64_t MicroBatchToKeep(const ckpt::RunState& before, int ranks, int64_t resolution);

// What makes the bits of a run that goes on from `before` other than an uninterrupted one's, for
// people, with W-BITS; nothing where another number of ranks or resolution does so anyway.
std::vector<std::string> WhyBitsDiffer(const ckpt::RunState& before, const ckpt::RunState& now);

}  // namespace contrail::worker
