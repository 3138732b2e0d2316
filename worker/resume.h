#pragma once
// Going on from a committed step, at any number of ranks.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "checkpoint/load.h"
#include "common/file_system.h"
#include "configs/config.h"
#include "model/registry.h"
#include "monitoring/run_dir.h"
#include "worker/comm/comm.h"
#include "worker/flat.h"
#include "worker/phases.h"
#include "worker/statistics.h"

namespace contrail::worker {

struct Resumed {
  ckpt::RunState state;
  std::string lineage;
  std::string dir;
};

// The model that trains a step: built for the resolution of the step's phase.
struct Target {
  const model::ModelSpec& spec;
  FlatParams& flat;
  RunningStatistics& statistics;
};

// Runs `work`, which reads checkpoints, on every rank (a collective), as Together does. Where it
// cannot be told what is there, the error is of the environment, whoever could cure it: the attempt
// fails, and another one may find what this one could not see.
void ReadTogether(Comm& comm, const std::function<void()>& work);

// A committed step that a resume passed over; step.damage says why.
using OnDamage = std::function<void(const ckpt::StepEntry& step)>;

// Collective. Goes on from the best step that every rank can read (the root proposes them in the
// order of checkpoint/newest.h, each rank reads its own slices and checks their checksums), fills
// own weights and moments and the running statistics, and gathers the weights. Nothing was ever
// committed: nullopt.
//
// Only evidence of damage goes back a step, loudly: a warning, and `on_damage` on the root.
// Whatever else keeps a rank from reading (E-IO, E-MEMORY) fails the attempt on all ranks.
//
// `target` is asked for the model that goes on from a step (on every rank; no collective). Where a
// phase of another resolution begins with that step, weights are carried over exactly, positions of
// images resampled, and the moments start from zero. Elsewhere another resolution than the step's
// is an error (E-PHASE-RESOLUTION).
//
// `read` is told of bytes as they come in.
//
// `from`: exactly this step or an error. Throws AgreedError: E-CKPT-MISSING, E-CKPT-MODEL,
// E-CKPT-CORRUPT (no step is whole), E-CKPT-LOST (what was committed last is gone, or everything),
// E-IO, E-MEMORY, E-RESUME-BATCH, E-RESUME-DATA (the shards changed and that was not `agreed` to).
std::optional<Resumed> Resume(FileSystem& fs, Comm& comm, const monitor::RunDir& run,
                              std::optional<uint64_t> from, const Config& config,
                              const PhasePlan& plan, const std::string& data_fingerprint,
                              const std::function<Target(uint64_t step)>& target, bool agreed,
                              const OnDamage& on_damage, const ckpt::OnRead& read = {});

// Collective. Fresh weights: from the specs' initialisers, or from the checkpoint model.init, at
// whatever resolution it is; a logit scale above train.logit_scale_max is brought down to it.
void Initialise(FileSystem& fs, Comm& comm, const Config& config,
                const std::vector<model::ParamSpec>& params, const Target& target,
                const ckpt::OnRead& read = {});

// All-gathers every bucket's weights from the ranks' own slices.
void GatherWeights(Comm& comm, FlatParams& flat);

// "train.lr: 0.001 -> 0.0005" for every key that trains and differs between two resolved configs.
std::vector<std::string> TrainingChanges(const std::string& old_toml, const std::string& new_toml);

}  // namespace contrail::worker
