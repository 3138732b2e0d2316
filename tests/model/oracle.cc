#include "tests/model/oracle.h"

#include <ATen/CPUGeneratorImpl.h>

#include <gtest/gtest.h>

namespace contrail::model {
namespace {

// Small work on a machine that runs other tests beside: one thread, except where a test asks.
class OneThread : public testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
const auto* const kOneThread = testing::AddGlobalTestEnvironment(new OneThread);

at::Generator Random(uint64_t seed) { return at::make_generator<at::CPUGeneratorImpl>(seed); }

at::Tensor Activation(const ModelSpec& spec, const at::Tensor& x) {
  return spec.activation == "gelu" ? at::gelu(x) : x * at::sigmoid(1.702 * x);
}

}  // namespace

OracleClip::OracleClip(const ModelSpec& spec, const std::vector<ParamSpec>& params,
                       const std::vector<at::Tensor>& weights)
    : spec_(spec) {
  for (size_t i = 0; i < params.size(); ++i) {
    order_.push_back(params[i].name);
    weights_[params[i].name] =
        weights[i].to(at::kDouble).clone().view(params[i].shape).requires_grad_(true);
  }
}

at::Tensor OracleClip::Norm(const at::Tensor& x, const std::string& name) const {
  return at::layer_norm(x, {x.size(-1)}, weight(name + ".weight"), weight(name + ".bias"), 1e-5);
}

at::Tensor OracleClip::Transformer(at::Tensor x, const std::string& prefix, int64_t layers,
                                   int64_t heads, bool causal) const {
  const int64_t b = x.size(0), length = x.size(1), width = x.size(2), d = width / heads;
  const auto split = [&](const at::Tensor& t) {
    return t.view({b, length, heads, d}).transpose(1, 2);
  };
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string name = prefix + "transformer.resblocks." + std::to_string(layer);
    const at::Tensor qkv =
        at::linear(Norm(x, name + ".ln_1"), weight(name + ".attn.in_proj_weight"),
                   weight(name + ".attn.in_proj_bias"));
    const std::vector<at::Tensor> parts = qkv.chunk(3, -1);
    at::Tensor scores =
        at::matmul(split(parts[0].contiguous()), split(parts[1].contiguous()).transpose(-1, -2)) /
        std::sqrt(static_cast<double>(d));
    if (causal) {
      const at::Tensor later = at::ones({length, length}, at::kBool).triu(1);
      scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
    }
    const at::Tensor mixed = at::matmul(at::softmax(scores, -1), split(parts[2].contiguous()))
                                 .transpose(1, 2)
                                 .reshape({b, length, width});
    x = x + at::linear(mixed, weight(name + ".attn.out_proj.weight"),
                       weight(name + ".attn.out_proj.bias"));
    const at::Tensor hidden = at::linear(Norm(x, name + ".ln_2"), weight(name + ".mlp.c_fc.weight"),
                                         weight(name + ".mlp.c_fc.bias"));
    x = x + at::linear(Activation(spec_, hidden), weight(name + ".mlp.c_proj.weight"),
                       weight(name + ".mlp.c_proj.bias"));
  }
  return x;
}

at::Tensor OracleClip::EncodeImages(const at::Tensor& images) const {
  const auto channel = [](std::vector<double> v) {
    return at::tensor(v, at::kDouble).view({1, 3, 1, 1});
  };
  const at::Tensor pixels =
      (images.to(at::kDouble) / 255.0 - channel({0.48145466, 0.4578275, 0.40821073})) /
      channel({0.26862954, 0.26130258, 0.27577711});
  const at::Tensor patches = at::conv2d(pixels, weight("visual.conv1.weight"), {}, spec_.vit.patch)
                                 .flatten(2)
                                 .transpose(1, 2);
  const at::Tensor cls =
      weight("visual.class_embedding").expand({images.size(0), 1, spec_.vit.width});
  at::Tensor x = at::cat({cls, patches}, 1) + weight("visual.positional_embedding");
  x = Transformer(Norm(x, "visual.ln_pre"), "visual.", spec_.vit.layers, spec_.vit.heads, false);
  const at::Tensor z = at::matmul(Norm(x.select(1, 0), "visual.ln_post"), weight("visual.proj"));
  return z / z.norm(2, {-1}, true);
}

at::Tensor OracleClip::EncodeTexts(const TextBatch& texts) const {
  const int64_t b = texts.offsets.numel() - 1;
  at::Tensor ids = at::zeros({b, spec_.text.context}, at::kLong);
  const int32_t* offsets = texts.offsets.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < b; ++i) {
    const at::Tensor caption = texts.token_ids.slice(0, offsets[i], offsets[i + 1]);
    ids[i].slice(0, 0, caption.numel()).copy_(caption);
  }
  at::Tensor x =
      at::embedding(weight("token_embedding.weight"), ids) + weight("positional_embedding");
  x = Norm(Transformer(x, "", spec_.text.layers, spec_.text.heads, true), "ln_final");
  const at::Tensor rows = x.index({at::arange(b), at::argmax(ids, -1)});
  const at::Tensor z = at::matmul(rows, weight("text_projection"));
  return z / z.norm(2, {-1}, true);
}

std::vector<at::Tensor> OracleClip::Gradients() const {
  std::vector<at::Tensor> grads;
  for (const std::string& name : order_) {
    const at::Tensor& w = weights_.at(name);
    grads.push_back(w.grad().defined() ? w.grad() : at::zeros_like(w));
  }
  return grads;
}

BoundModel::BoundModel(std::unique_ptr<ClipModel> clip, at::ScalarType type, uint64_t seed)
    : model(std::move(clip)) {
  const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
  int64_t total = 0;
  for (const ParamSpec& spec : model->params()) total += NumElements(spec);
  const at::Tensor weights = at::zeros({total}, wide), grads = at::zeros({total}, wide);
  const at::Tensor matrices = at::zeros({total}, type);
  int64_t at_element = 0;
  for (const ParamSpec& spec : model->params()) {
    const int64_t n = NumElements(spec);
    const auto slice = [&](const at::Tensor& flat) {
      return flat.narrow(0, at_element, n).view(spec.shape);
    };
    at::Tensor weight = slice(weights);
    bound.grads.push_back(slice(grads));
    InitParam(spec, seed, weight);
    // Gains of 1 and biases of 0 would hide mistakes.
    if (spec.init.kind == Init::Kind::kOnes || spec.init.kind == Init::Kind::kZeros) {
      const at::Tensor noise = RandomTensor({n}, seed + static_cast<uint64_t>(at_element));
      weight.add_(noise.view(spec.shape).to(wide), 0.1);
    }
    bound.weights.push_back(spec.matrix ? slice(matrices).copy_(weight) : weight);
    at_element += n;
  }
  for (const BufferSpec& spec : model->buffers()) {
    const at::Tensor noise = RandomTensor(spec.shape, seed + bound.buffers.size()).abs();
    bound.buffers.push_back((noise * 0.1 + spec.initial).to(wide));
  }
  model->Bind(bound);
}

void BoundModel::ZeroGrads() {
  for (at::Tensor& grad : bound.grads) grad.zero_();
}

at::Tensor RandomImages(int64_t count, int64_t resolution, uint64_t seed) {
  return at::randint(0, 256, {count, 3, resolution, resolution}, Random(seed),
                     at::TensorOptions().dtype(at::kByte));
}

TextBatch RandomTexts(const std::vector<int64_t>& lengths, int64_t vocab, uint64_t seed) {
  std::vector<int32_t> offsets{0};
  for (const int64_t length : lengths) {
    offsets.push_back(offsets.back() + static_cast<int32_t>(length));
  }
  TextBatch texts;
  texts.token_ids =
      at::randint(1, vocab - 2, {offsets.back()}, Random(seed), at::kLong).to(at::kInt);
  texts.offsets = at::tensor(offsets, at::kInt);
  for (size_t i = 0; i < lengths.size(); ++i) {
    texts.token_ids[offsets[i]].fill_(vocab - 2);
    texts.token_ids[offsets[i + 1] - 1].fill_(vocab - 1);
  }
  return texts;
}

at::Tensor RandomTensor(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, Random(seed), at::TensorOptions().dtype(at::kDouble));
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.detach().to(at::kDouble), y = b.detach().to(at::kDouble);
  return (x - y).norm().item<double>() / std::max(y.norm().item<double>(), 1e-300);
}

}  // namespace contrail::model
