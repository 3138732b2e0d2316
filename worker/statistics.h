#pragma once
// The running statistics of a model's batch norms on this rank. They are linear in the batch
// statistics of the groups, and every rank sees equally many groups a step, so ranks keep their own
// and the mean over ranks is what one rank with all groups would have: no traffic in a step.

#include <ATen/core/Tensor.h>

#include <vector>

#include "checkpoint/state.h"
#include "model/param.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

class RunningStatistics {
 public:
  // Initial values of the specs; empty for a ViT.
  explicit RunningStatistics(const std::vector<model::BufferSpec>& specs);

  const std::vector<model::BufferSpec>& specs() const { return specs_; }
  // For ClipModel::Bind: fp32, in the specs' order.
  const std::vector<at::Tensor>& views() const { return views_; }

  // Collective: one all-reduce. Every rank goes on from the mean, so that a run that is stopped
  // here and resumed has the same bits as one that is not.
  void Average(Comm& comm);

  std::vector<ckpt::NamedArray> Export() const;
  // The arrays of a checkpoint of this model (see eval::ReadBuffers), in the specs' order.
  void Import(const std::vector<at::Tensor>& values);

 private:
  std::vector<model::BufferSpec> specs_;
  at::Tensor flat_;
  std::vector<at::Tensor> views_;
};

}  // namespace contrail::worker
