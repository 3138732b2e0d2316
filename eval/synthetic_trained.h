#pragma once
// Models that were trained on synthetic pairs (data/synthetic.h) are for timing, not for judging.

#include <string>

#include "checkpoint/state.h"

namespace contrail::eval {

// Throws UserError E-DATA-SYNTHETIC where the checkpoint `dir` comes from such a run.
void RefuseSyntheticTrained(const ckpt::RunState& state, const std::string& dir);

}  // namespace contrail::eval
