#pragma once
// Flat buckets: all weights in a few contiguous buckets, gradients in equally shaped ones, and the
// rank's own 1/N of the optimizer's moments (ZeRO-1; Rajbhandari et al. 2020, stage 1, over
// contiguous buckets as in Megatron-LM's distributed optimizer).
//
//   physical space   bucket 0 | bucket 1 | ...      groups in reverse order of use, parameters of a
//                    [slice 0 | ... | slice N-1]    group in params() order, each aligned to 32
//                                                   elements, every bucket padded to a multiple of
//                                                   32 N elements
//   logical space    params() order, no padding     what checkpoints speak of (checkpoint/state.h)
//
// Rank r owns slice r of every bucket: [r S/N, (r+1) S/N) of S elements. In the logical space that
// is an ascending list of disjoint ranges; the ranges of all ranks cover the space exactly once.
// Padding is zero in weights, gradients and moments and stays so.
//
// Mixed precision (Micikevicius et al. 2018): where `matrix_type` is a 16-bit type, a bucket holds
// either matrices (ParamSpec::matrix) or the rest. What the model computes with, and what is
// gathered, is the *working* copy: 16-bit in buckets of matrices, whose fp32 *masters* exist only
// as own slices; fp32 in the others, where the working copy is the master, as everywhere at fp32.
// Gradients and everything a checkpoint sees are fp32.
//
// Two options of the paper (Radford et al. 2021, section 2.5) trade precision for memory; both need
// the optimizer's unbiased rounding (worker/optimizer.h). `moment_type` bf16 halves the moments.
// `text_masters` off leaves the text tower's matrices without masters: the 16-bit working copy is
// the master, which an fp32 checkpoint holds exactly.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "checkpoint/state.h"
#include "model/param.h"

namespace contrail::worker {

class FlatParams {
 public:
  struct Options {
    // Of fp32; a bucket ends before it, one group may exceed it. 0: a tenth of all, 1 to 64 MB, so
    // that small models have something to overlap with too.
    int64_t bucket_bytes = 0;
    bool training = true;                     // false: weights only
    at::ScalarType matrix_type = at::kFloat;  // kFloat, kBFloat16 or kHalf
    at::ScalarType moment_type = at::kFloat;  // kFloat or kBFloat16
    bool text_masters = true;                 // false: only with matrix_type kBFloat16
  };

  // Weights, gradients and moments start as zeros.
  FlatParams(const std::vector<model::ParamSpec>& params, int rank, int size, Options options);
  FlatParams(const std::vector<model::ParamSpec>& params, int rank, int size)
      : FlatParams(params, rank, size, Options()) {}

  // Views of every parameter, params() order, for ClipModel::Bind.
  const model::BoundParams& views() const { return views_; }
  void ZeroGrads();

  int num_buckets() const { return static_cast<int>(buckets_.size()); }
  at::Tensor weights(int bucket) const;      // [S] working, all-gathered from own_working
  at::Tensor own_working(int bucket) const;  // [S/N], a view into weights
  at::Tensor grads(int bucket) const;        // fp32 [S], reduce-scattered into own_grads
  // [S/N]: the fp32 masters; own_working where that is fp32 or there are no masters.
  at::Tensor own_weights(int bucket) const;
  at::Tensor own_grads(int bucket) const;    // fp32 [S/N], a view into grads
  at::Tensor own_exp_avg(int bucket) const;  // [S/N] of the moments' type
  at::Tensor own_exp_avg_sq(int bucket) const;

  // The own slice as runs of elements that lie in one parameter, ascending, padding left out: the
  // optimizer's pieces of work, at most kLongestRun elements each.
  static constexpr int64_t kLongestRun = int64_t{1} << 15;
  struct Run {
    int64_t begin = 0;  // in the own slice
    int64_t count = 0;
    int64_t logical = 0;  // of the first element, the same at any number of ranks
    bool decay = false;
  };
  const std::vector<Run>& own_runs(int bucket) const;

  // Rounds own masters into own_working, nothing where they are the same memory. For whoever sets
  // masters but the optimizer, which writes both.
  void RoundOwn(int bucket);
  // The same whole parameter on every rank: working copy and own masters.
  void SetWeight(size_t param, const at::Tensor& value);

  // Where a group's parameters lie: one bucket, two where matrices have their own, none for a
  // number that no parameter has.
  int num_groups() const { return static_cast<int>(buckets_of_group_.size()); }
  const std::vector<int>& buckets_of_group(int group) const { return buckets_of_group_[group]; }

  // Which buckets' gradients are final. A bucket is complete when all its groups have been
  // reported since StartBackward(); GroupDone returns it then, once. A group is in one bucket, or
  // in two where matrices have their own.
  void StartBackward();
  std::vector<int> GroupDone(int group);

  // Checkpoints. `kind` indexes ckpt::kKindNames; own data is the concatenation of
  // RangesOf(rank()) in order.
  const ckpt::Layout& layout() const { return layout_; }
  std::vector<ckpt::Range> RangesOf(int rank) const;
  int64_t own_elements() const { return own_elements_; }  // without padding
  void ExportOwn(int kind, float* out) const;
  // Own slices only. Weights are masters: RoundOwn and all-gather afterwards.
  void ImportOwn(int kind, const float* in);
  void ExportWeights(float* out) const;  // the working copy of the whole logical space
  void ImportWeights(const float* in);   // working copy and own masters

  int rank() const { return rank_; }
  int size() const { return size_; }
  int64_t num_elements() const { return static_cast<int64_t>(layout_.num_elements); }
  int64_t bytes() const;            // all tensors held by this rank
  int64_t optimizer_bytes() const;  // of them: moments and masters beside the working copy

 private:
  struct Bucket {
    int64_t begin = 0;  // in the physical space
    int64_t size = 0;
    int64_t own_begin = 0;  // of its own slice in the moments
    at::ScalarType type = at::kFloat;
    int64_t working_begin = 0;  // in the working tensor of its type
    bool has_masters = false;   // beside the working copy
    int64_t master_begin = 0;   // in masters_
    std::vector<size_t> params;
    std::vector<int> groups;
    int groups_left = 0;
    std::vector<Run> own_runs;
  };
  // A run of elements that is contiguous in both spaces.
  struct Segment {
    int64_t logical = 0;
    int64_t physical = 0;
    int64_t count = 0;
  };

  void PlanLayout(const std::vector<model::ParamSpec>& params);
  void PlanBuckets(const std::vector<model::ParamSpec>& params, const Options& options);
  // Buckets of those parameters, and of no others.
  using Select = std::function<bool(const model::ParamSpec&)>;
  void FillBuckets(const std::vector<model::ParamSpec>& params, const Select& select,
                   int64_t limit);
  void PlaceBuckets(const std::vector<model::ParamSpec>& params, const Options& options);
  void PlanRuns(const std::vector<model::ParamSpec>& params);
  void Allocate(const std::vector<model::ParamSpec>& params, const Options& options);
  std::vector<Segment> SegmentsOf(int rank) const;  // ascending in the logical space
  const Bucket& BucketAt(int64_t physical) const;
  at::Tensor OwnSlice(const at::Tensor& whole) const;
  at::Tensor OwnOf(int kind, const Segment& segment) const;  // a view, of its type

  int rank_;
  int size_;
  ckpt::Layout layout_;
  std::vector<int64_t> place_;  // first physical element of every parameter
  std::vector<Bucket> buckets_;
  std::vector<std::vector<int>> buckets_of_group_;  // none where no parameter has the group
  std::vector<bool> group_done_;
  int64_t own_elements_ = 0;

  at::Tensor wide_, narrow_;         // working: buckets of fp32, of the 16-bit type
  at::Tensor masters_;               // fp32, own slices of buckets in narrow_ that have masters
  at::Tensor grads_;                 // [physical elements]
  at::Tensor exp_avg_, exp_avg_sq_;  // [physical elements / N]
  model::BoundParams views_;
};

}  // namespace contrail::worker
