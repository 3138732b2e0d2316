#pragma once
// The same weights for both sides of a pair.

#include <string>

#include "model/clip.h"
#include "worker/flat.h"

namespace contrail::bench {

// Sets every weight of `model` in `flat` from a file that open_clip's model was saved in, and binds
// the model to `flat`; running statistics start as the architecture says. Throws as
// model::files::FileWeights does.
void LoadWeights(const std::string& path, model::ClipModel& model, worker::FlatParams& flat);

}  // namespace contrail::bench
