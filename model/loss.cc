#include "model/loss.h"

#include "common/error.h"
#include "model/contrastive_loss.h"
#include "model/sigmoid_loss.h"

namespace contrail::model {

std::unique_ptr<Loss> MakeLoss(const std::string& name, int64_t own_rows, int64_t global_rows,
                               int64_t embed_dim, int64_t tile) {
  if (name == "siglip") {
    return std::make_unique<SigmoidLoss>(own_rows, global_rows, embed_dim, tile);
  }
  CONTRAIL_ASSERT(name == "clip");
  return std::make_unique<ContrastiveLoss>(own_rows, global_rows, embed_dim, tile);
}

}  // namespace contrail::model
