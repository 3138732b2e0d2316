#pragma once
// CLIP: an image tower and a text tower ending in unit-norm features, and a logit scale. Explicit
// forward and backward over the op table; no autograd.
//
//   features = Forward(batch)        Keep::kYes fills the arena for a backward
//   Backward(d_features)             accumulates into the bound gradients
//
// Bind, then Plan, then forward and backward; one thread at a time. A forward replaces what the
// same tower's last one kept, and leaves the other tower's alone, so gradient caching is: forward
// all micro-batches with Keep::kNo, the loss, then Forward(kYes) and Backward for each. Results do
// not depend on Keep, nor on the number of threads, bit for bit; they may differ
// in the last bits between instruction sets (AVX-512, AVX2, neither). Callers need no autograd
// guard.
//
// Legend: b samples, D embed_dim, R resolution, T packed tokens.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/param.h"
#include "model/registry.h"

namespace contrail::model {

enum class Keep { kNo, kYes };

// Kinds of blocks that keep nothing but their input: their forward runs again in the backward, with
// the same gradients bit for bit (and running statistics that count it once).
struct Recompute {
  bool vit = false;
  bool text = false;
  bool resnet = false;  // bottlenecks and stem
};

struct PlanFor {
  bool training;
  Recompute recompute;

  PlanFor(bool for_training, Recompute again = {})  // a plain bool is a plan that keeps all
      : training(for_training), recompute(again) {}
};

// Called when the backward of block `group` has returned: its gradients are final for this
// micro-batch. Groups come in descending order inside a tower.
using GroupDone = std::function<void(int group)>;

// Called before a forward reads the weights of a group, in ascending order: whoever still brings
// them waits here.
using GroupNeeded = std::function<void(int group)>;

struct TextBatch {
  at::Tensor token_ids;  // int32 [T], captions concatenated
  at::Tensor offsets;    // int32 [b + 1]; caption i is [offsets[i], offsets[i+1])
};

class ClipModel {
 public:
  static std::unique_ptr<ClipModel> Create(const ModelSpec& spec);
  virtual ~ClipModel() = default;

  virtual const ModelSpec& spec() const = 0;
  // Visual tower first, then text, then "logit_scale" and, trained with "siglip", "logit_bias"; the
  // two have a group of their own.
  virtual const std::vector<ParamSpec>& params() const = 0;
  // Running statistics of batch norm; none for ViTs.
  virtual const std::vector<BufferSpec>& buffers() const = 0;
  // Contiguous fp32 tensors of the specs' sizes, in their order (slices of flat buffers will do);
  // weights with ParamSpec::matrix may be bf16 or fp16, all in one type, which then is what
  // products compute in (docs/precision.md). Their memory is read and written from now on, so
  // weights may be updated in place. Throws UserError E-MODEL-STATISTICS where the model has
  // buffers and none are given.
  virtual void Bind(BoundParams params) = 0;

  // Plans the arena for micro-batches of at most `max_samples` (and 77 tokens a caption, or
  // `max_tokens` in all where given). After it, forward and backward allocate nothing.
  virtual void Plan(int64_t max_samples, int64_t max_tokens, const PlanFor& what) = 0;
  virtual int64_t arena_bytes() const = 0;

  // Ends a step: the running statistics move by 0.1 towards the mean over the groups of all images
  // forwarded with Keep::kYes since the last call. Batch norm uses running statistics in a model
  // planned without training, else those of each bn_group_size consecutive images of a micro-batch
  // (of all of it, where that is fewer); a micro-batch is whole groups.
  virtual void FoldStatistics() = 0;
  // Ends a step that is not to count: what was collected since the last call is forgotten.
  virtual void DropStatistics() = 0;

  // images: uint8 [b, 3, R, R] RGB (normalised inside with CLIP's mean and std); features: fp32
  // [b, D], written in place, unit norm. Texts' tensors must stay as they are until the backward.
  virtual void ForwardImages(const at::Tensor& images, at::Tensor features, Keep keep) = 0;
  virtual void BackwardImages(const at::Tensor& d_features, const GroupDone& done) = 0;
  virtual void ForwardTexts(const TextBatch& texts, at::Tensor features, Keep keep) = 0;
  virtual void BackwardTexts(const at::Tensor& d_features, const GroupDone& done) = 0;

  // From now on, in every forward. The logit scale's group is the caller's own business.
  virtual void SetGroupNeeded(const GroupNeeded& needed) = 0;
};

// What Plan would allocate for fp32 weights, known before anything is.
int64_t PlannedBytes(const ModelSpec& spec, int64_t max_samples, int64_t max_tokens,
                     const PlanFor& what);

}  // namespace contrail::model
