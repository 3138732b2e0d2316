#pragma once
// A model's parameters as data: names and shapes as OpenAI's/open_clip's state dict, so that
// checkpoints, exports, decay exclusions and initialisation all read one list.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace contrail::model {

struct Init {
  enum class Kind { kZeros, kOnes, kConstant, kNormal, kUniform };
  Kind kind = Kind::kZeros;
  double value = 0;  // constant; or the normal's standard deviation; or the uniform's half width
};

struct ParamSpec {
  std::string name;            // "visual.transformer.resblocks.0.attn.in_proj_weight"
  std::vector<int64_t> shape;  // {} is a scalar
  Init init;
  bool decay = false;  // decoupled weight decay applies (matrices; not gains, biases, scale)
  // An operand of matrix products or convolutions: kept in the 16-bit type where the model computes
  // in one. Everything else (gains, biases, embeddings, the logit scale) is fp32 then.
  bool matrix = false;
  int group = 0;  // the block it belongs to, numbered in order of forward use
};

// What a model keeps beside its parameters and no gradient reaches: running statistics.
struct BufferSpec {
  std::string name;  // "visual.bn1.running_mean"
  std::vector<int64_t> shape;
  double initial = 0;
};

int64_t NumElements(const ParamSpec& spec);

// Fills `out` from the spec with counter-based draws keyed by (seed, name): the same values
// whatever the rank count or the order of parameters.
void InitParam(const ParamSpec& spec, uint64_t seed, at::Tensor out);

// What a model computes with: views into flat buffers, same order as the specs. Gradients are
// accumulated into (beta = 1), never overwritten.
struct BoundParams {
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> grads;  // empty for inference
  // In the order of ClipModel::buffers(); read by inference, written by FoldStatistics.
  std::vector<at::Tensor> buffers = {};
};

}  // namespace contrail::model
