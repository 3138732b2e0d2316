#pragma once
// Going on from a committed step, at any number of ranks.

#include <cstdint>
#include <optional>
#include <string>

#include "checkpoint/state.h"
#include "common/file_system.h"
#include "configs/config.h"
#include "model/registry.h"
#include "worker/comm/comm.h"
#include "worker/flat.h"
#include "worker/statistics.h"

namespace contrail::worker {

struct Resumed {
  ckpt::RunState state;
  std::string lineage;
  std::string dir;
};

// Collective. Finds the newest step that every rank can read (the root proposes, each rank reads
// its own slices and checks their checksums), fills own weights and moments and the running
// statistics, and gathers the weights. A corrupt step is reported and the one before it used.
// Nothing committed: nullopt.
//
// `from`: exactly this step or an error. Throws AgreedError: E-CKPT-MISSING, E-CKPT-MODEL,
// E-CKPT-CORRUPT (no step is whole), E-RESUME-BATCH, E-RESUME-DATA (the shards changed and nobody
// asked for that with --set data.train).
std::optional<Resumed> Resume(FileSystem& fs, Comm& comm, const std::string& checkpoints_dir,
                              std::optional<uint64_t> from, const Config& config,
                              const model::ModelSpec& spec, const std::string& data_fingerprint,
                              FlatParams& flat, RunningStatistics& statistics);

// Collective. Fresh weights: from the specs' initialisers, or from the checkpoint model.init.
void Initialise(FileSystem& fs, Comm& comm, const Config& config, const model::ModelSpec& spec,
                const std::vector<model::ParamSpec>& params, FlatParams& flat,
                RunningStatistics& statistics);

// All-gathers every bucket's weights from the ranks' own slices.
void GatherWeights(Comm& comm, FlatParams& flat);

// "train.lr: 0.001 -> 0.0005" for every key that trains and differs between two resolved configs.
std::vector<std::string> TrainingChanges(const std::string& old_toml, const std::string& new_toml);

}  // namespace contrail::worker
