#pragma once
// Flat buckets: all weights in a few contiguous buckets, gradients in equally shaped ones, and the
// rank's own 1/N of the optimizer's moments (ZeRO-1; Rajbhandari et al. 2020, stage 1, over
// contiguous buckets as in Megatron-LM's distributed optimizer).
//
//   physical space   bucket 0 | bucket 1 | ...      groups in reverse order of use, whole groups to
//                    [slice 0 | ... | slice N-1]    a bucket, parameters of a group in params()
//                                                   order, each aligned to 64 bytes, every bucket
//                                                   padded to a multiple of 16 N elements
//   logical space    params() order, no padding     what checkpoints speak of (checkpoint/state.h)
//
// Rank r owns slice r of every bucket: [r S/N, (r+1) S/N) of S elements. In the logical space that
// is an ascending list of disjoint ranges; the ranges of all ranks cover the space exactly once.
// Padding is zero in weights, gradients and moments and stays so.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "checkpoint/state.h"
#include "model/param.h"

namespace contrail::worker {

class FlatParams {
 public:
  struct Options {
    int64_t bucket_bytes = int64_t{64} << 20;  // a bucket ends before it; one group may exceed it
    bool training = true;                      // false: weights only
  };

  // Weights, gradients and moments start as zeros.
  FlatParams(const std::vector<model::ParamSpec>& params, int rank, int size, Options options);
  FlatParams(const std::vector<model::ParamSpec>& params, int rank, int size)
      : FlatParams(params, rank, size, Options()) {}

  // Views of every parameter, params() order, for ClipModel::Bind.
  const model::BoundParams& views() const { return views_; }
  void ZeroGrads();

  int num_buckets() const { return static_cast<int>(buckets_.size()); }
  at::Tensor weights(int bucket) const;      // fp32 [S], all-gathered after a step
  at::Tensor grads(int bucket) const;        // fp32 [S], reduce-scattered into own_grads
  at::Tensor own_weights(int bucket) const;  // fp32 [S/N], a view into weights: the master copy
  at::Tensor own_grads(int bucket) const;    // fp32 [S/N], a view into grads
  at::Tensor own_exp_avg(int bucket) const;  // fp32 [S/N]
  at::Tensor own_exp_avg_sq(int bucket) const;

  // Alternating stretches of the own slice with and without weight decay; together they are
  // [0, S/N), bounds are multiples of 16.
  struct Stretch {
    int64_t begin = 0;
    int64_t end = 0;
    bool decay = false;
  };
  const std::vector<Stretch>& own_stretches(int bucket) const;

  // Which bucket's gradients are final. A bucket is complete when all its groups have been
  // reported since StartBackward(); GroupDone returns it then, once. Every group is in one bucket.
  void StartBackward();
  std::optional<int> GroupDone(int group);

  // Checkpoints. `kind` indexes ckpt::kKindNames; own data is the concatenation of
  // RangesOf(rank()) in order.
  const ckpt::Layout& layout() const { return layout_; }
  std::vector<ckpt::Range> RangesOf(int rank) const;
  int64_t own_elements() const { return own_elements_; }  // without padding
  void ExportOwn(int kind, float* out) const;
  void ImportOwn(int kind, const float* in);  // own slices only: all-gather weights afterwards
  void ExportWeights(float* out) const;       // the whole logical space
  void ImportWeights(const float* in);

  int rank() const { return rank_; }
  int size() const { return size_; }
  int64_t num_elements() const { return static_cast<int64_t>(layout_.num_elements); }
  int64_t bytes() const;  // all tensors held by this rank

 private:
  struct Bucket {
    int64_t begin = 0;  // in the physical space
    int64_t size = 0;
    int64_t own_begin = 0;  // of its own slice in the moments
    std::vector<int> groups;
    int groups_left = 0;
    std::vector<Stretch> own_stretches;
  };
  // A run of elements that is contiguous in both spaces.
  struct Segment {
    int64_t logical = 0;
    int64_t physical = 0;
    int64_t count = 0;
  };

  void PlanLayout(const std::vector<model::ParamSpec>& params);
  void PlanBuckets(const std::vector<model::ParamSpec>& params, int64_t bucket_bytes);
  void PlanStretches(const std::vector<model::ParamSpec>& params);
  void Allocate(const std::vector<model::ParamSpec>& params, bool training);
  std::vector<Segment> SegmentsOf(int rank) const;  // ascending in the logical space
  at::Tensor OwnSlice(const at::Tensor& physical, const Bucket& bucket) const;
  float* OwnAddress(int kind, const Segment& segment) const;

  int rank_;
  int size_;
  ckpt::Layout layout_;
  std::vector<int64_t> place_;  // first physical element of every parameter
  std::vector<Bucket> buckets_;
  std::vector<int> bucket_of_group_;  // -1 where no parameter has the group
  std::vector<bool> group_done_;
  int64_t own_elements_ = 0;

  at::Tensor weights_, grads_;       // [physical elements]
  at::Tensor exp_avg_, exp_avg_sq_;  // [physical elements / N]
  model::BoundParams views_;
};

}  // namespace contrail::worker
