#pragma once
// A model from a file of weights becomes a committed, weights-only checkpoint.

#include <string>

#include "common/file_system.h"
#include "model/files/model_weights.h"

namespace contrail::eval {

// Writes `weights` as the step directory `out`: nothing is there until all of it is. About one
// tensor is in memory at a time. Throws E-OUT-EXISTS, E-OUT-DIR and what reading and saving throw;
// leaves nothing then.
void ImportCheckpoint(FileSystem& fs, model::files::ModelWeights& weights, const std::string& out);

}  // namespace contrail::eval
