#include "eval/synthetic_trained.h"

#include "common/error.h"
#include "configs/config.h"
#include "configs/load.h"

namespace contrail::eval {

void RefuseSyntheticTrained(const ckpt::RunState& state, const std::string& dir) {
  const std::string synthetic = std::string("[\"") + kSynthetic + "\"]";
  if (ResolvedValues(state.config_toml)["data.train"] != synthetic) return;
  throw UserError("E-DATA-SYNTHETIC", dir,
                  "was trained on synthetic pairs, from which nothing can be learned",
                  "evaluate a run on real shards");
}

}  // namespace contrail::eval
