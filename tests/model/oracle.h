#pragma once
// A second, short definition of CLIP in plain ATen with autograd, in fp64 and on padded captions as
// OpenAI wrote it: what the explicit towers are compared with.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "model/clip.h"

namespace contrail::model {

class OracleClip {
 public:
  OracleClip(const ModelSpec& spec, const std::vector<ParamSpec>& params,
             const std::vector<at::Tensor>& weights);

  // images: uint8 [b, 3, R, R] -> fp64 [b, D] of unit norm.
  at::Tensor EncodeImages(const at::Tensor& images) const;
  // Padded with 0 to the context; read where the id is largest (EOT).
  at::Tensor EncodeTexts(const TextBatch& texts) const;

  const at::Tensor& weight(const std::string& name) const { return weights_.at(name); }
  // In the order of the specs; zeros where nothing flowed.
  std::vector<at::Tensor> Gradients() const;

 private:
  at::Tensor Transformer(at::Tensor x, const std::string& prefix, int64_t layers, int64_t heads,
                         bool causal) const;
  at::Tensor Norm(const at::Tensor& x, const std::string& name) const;

  ModelSpec spec_;
  std::vector<std::string> order_;
  std::map<std::string, at::Tensor> weights_;
};

// What tests compute with: flat buffers bound as a trainer binds them, random inputs.
struct BoundModel {
  std::unique_ptr<ClipModel> model;
  BoundParams bound;  // weights and grads, also bound to the model

  BoundModel(std::unique_ptr<ClipModel> clip, at::ScalarType type, uint64_t seed = 1);
  void ZeroGrads();
};

at::Tensor RandomImages(int64_t count, int64_t resolution, uint64_t seed);
// Captions of `lengths` tokens: start, random words, end (the largest id), as CLIP's tokenizer.
TextBatch RandomTexts(const std::vector<int64_t>& lengths, int64_t vocab, uint64_t seed);
at::Tensor RandomTensor(at::IntArrayRef shape, uint64_t seed);  // fp64 N(0, 1)

// |a - b| / |b|, in fp64.
double Distance(const at::Tensor& a, const at::Tensor& b);

}  // namespace contrail::model
