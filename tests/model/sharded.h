#pragma once
// A loss on ranks that are threads of one process.

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "model/loss.h"
#include "tests/model/loss_oracle.h"

namespace contrail::model {

struct ShardedResult {
  std::vector<LossOutput> outputs;  // one a rank
  at::Tensor d_image, d_text;       // fp32 [B, D]
};

struct Logits {
  double scale = 1;
  double bias = 0;
};

ShardedResult ShardedLoss(const std::string& name, const Features& features, const Logits& logits,
                          int ranks, int64_t tile);

}  // namespace contrail::model
