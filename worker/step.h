#pragma once
// One optimizer step, in the order in which it happens:
//
//   Encode    own images and texts -> unit-norm features [b, D]
//   Gather    one all-gather of both towers' features
//   Loss      exact over the global batch; gradients of own features
//   Backward  both towers; each bucket's reduce-scatter starts when its gradients are final, and
//             all are finished at the end
//   (pulse)   gradient norm and everything else that ranks agree on
//   Update    clip, AdamW on own slices and clamp of the logit scale, in the order of next use;
//             each bucket's all-gather starts then, and the next Encode waits for it block by
//             block; the running statistics of batch norm take the step in, once
//
// A rank's share b may be encoded in micro-batches: features first without keeping activations,
// then, after the loss, each micro-batch again with its backward (gradient caching, Gao et al.
// 2021, "Scaling deep contrastive learning batch size under memory limited setup"). The gradient
// is the same.

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "data/batch.h"
#include "model/clip.h"
#include "model/loss.h"
#include "monitoring/recorder.h"
#include "worker/bucket_traffic.h"
#include "worker/comm/comm.h"
#include "worker/flat.h"
#include "worker/loss_scale.h"
#include "worker/optimizer.h"
#include "worker/progress.h"

namespace contrail::worker {

class TrainStep {
 public:
  struct Options {
    int64_t global_batch_size = 0;
    int64_t micro_batch_size = 0;  // divides the rank's share; 0 = the whole share
    model::Recompute recompute = {};
    AdamWOptions adamw = {};
    double grad_clip_norm = 0;
    double logit_scale_max = 100;
    bool overlap = true;  // bits do not depend on it
    Wire gradients = Wire::kAsStored;
    LossScale loss_scale = {};  // on for fp16
    // Told of every block on the way forward and back, and of the optimizer's buckets.
    Progress* progress = nullptr;
  };
  // The model must be bound to `flat` by the caller. Plans the arena.
  TrainStep(Comm& comm, model::ClipModel& model, FlatParams& flat, const Options& options);
  ~TrainStep();
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  void Encode(const data::Batch& batch, monitor::StepTimes& times);
  void Gather(monitor::StepTimes& times);
  model::LossOutput Loss(monitor::StepTimes& times);
  void Backward(monitor::StepTimes& times);
  // Sum of squares of own gradient slices, for the pulse; not finite where fp16 overflowed.
  double OwnGradSquares() const;
  // `update` counts from 1. Own masters and moments are final when it returns; working weights of
  // other ranks may still be on their way.
  void Update(uint64_t update, double lr, double grad_norm, monitor::StepTimes& times);
  // Before anybody but Encode reads working weights.
  void WaitForWeights();

  // Instead of Backward and Update, or of Update alone: the step leaves no trace.
  void Skip();

  // This rank's contribution to the gradient, before the sum over ranks, holds a NaN or infinity.
  // After a Backward and before the next step.
  bool OwnGradientBroken() const;
  // Rows of the global batch whose gathered features are not finite, ascending.
  std::vector<int64_t> BrokenRows() const;
  double loss() const { return last_loss_; }  // of the last Loss
  double logit_scale();                       // of the weights as they are
  double logit_bias();                        // 0 where the loss has none
  // After a gradient norm that was not finite: true where the loss scale is to blame, which is
  // halved then; the step is to be skipped without more ado.
  bool ScaleOverflowed() { return loss_scale_.Overflow(); }
  const LossScale& loss_scale() const { return loss_scale_; }
  int64_t local_batch_size() const { return local_; }

 private:
  struct Micro {
    at::Tensor images;  // uint8 [m, 3, R, R]
    model::TextBatch texts;
    at::Tensor image, text;      // [m, D] rows of image_, text_
    at::Tensor d_image, d_text;  // [m, D] rows of d_image_, d_text_
  };
  void Cut(const data::Batch& batch);
  void Touch();
  void Need(int group);
  void AddLogitGradients();
  void ReduceWhenReady(int group);
  void ClampOwnLogitScale(int bucket);

  Comm& comm_;
  model::ClipModel& model_;
  FlatParams& flat_;
  Options options_;
  int64_t local_;  // b
  int64_t micro_;

  at::Tensor image_, text_;      // own features [b, D]
  at::Tensor packed_;            // [b, 2 D]: image | text
  at::Tensor gathered_;          // [B, 2 D]
  at::Tensor d_image_, d_text_;  // [b, D]
  BucketTraffic traffic_;
  std::unique_ptr<model::Loss> loss_;
  LossScale loss_scale_;
  double d_scale_ = 0;  // dL/ds of the last Loss
  double d_bias_ = 0;
  double last_loss_ = 0;
  int logit_group_ = 0;  // of the parameters that no tower has
  size_t scale_ = 0;     // index of logit_scale
  size_t bias_ = 0;      // ... of logit_bias; 0 where the loss has none

  std::vector<Micro> micros_;
  std::vector<int32_t> offsets_;  // text offsets of every micro-batch, from 0 each
};

}  // namespace contrail::worker
