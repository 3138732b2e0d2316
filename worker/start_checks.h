#pragma once
// What must hold before step 0: the worst failures of clusters are silent.
//
// Checks throw UserError; callers run them through Together, so that one rank speaks for all.

#include <cstdint>
#include <string>

#include "configs/config.h"
#include "data/dataset.h"
#include "monitoring/run_dir.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

// MPI started another number of ranks than was asked for: E-MPI-SIZE (N singletons are what an
// mpirun of another MPI gives). `asked` 0 = nobody said.
void CheckSize(const Comm& comm, long asked);

// The part of the configuration that is not there yet or does not fit the ranks: E-CROP,
// E-DATA-CAPTION-KEY; E-RANKS with the nearest number of ranks that divides the batch.
void CheckConfig(const Config& config, int ranks);

// Fewer samples than one global batch: E-DATA-SMALL.
void CheckDataSize(uint64_t samples, const Config& config);

// Collective. More samples without a caption than data.max_empty_captions lets pass:
// E-DATA-NO-CAPTIONS. Rank 0 tells of those there are, and of what the shards hold beside samples.
void CheckCaptions(Comm& comm, const data::Dataset& dataset, const Config& config);

// Collective. Ranks that run another config (any key), program or data than rank 0:
// E-RANKS-DISAGREE with both sides. `data` describes the shards, ending in their fingerprint.
void CheckSameEverywhere(Comm& comm, const Config& config, const std::string& data);

// Collective. A file that rank 0 writes must be there for every rank: E-RUN-NOT-SHARED.
void CheckShared(Comm& comm, const monitor::RunDir& run);

// Warns (rank 0 of a node) where all ranks of a node are bound to the same single core.
void WarnIfOneCore(Comm& comm);

// Collective. Warns (rank 0 of a node) where ranks of the node have fewer cores than the threads
// they were to compute with: `asked` and `used` of this rank.
void WarnIfFewCores(Comm& comm, int asked, int used);

// Warns (rank 0 of a node) where there are GPUs: this build's op table computes on the processor,
// and an allocation that pays for GPUs should hear of it at once.
void WarnIfGpusIdle(const Comm& comm);

}  // namespace contrail::worker
