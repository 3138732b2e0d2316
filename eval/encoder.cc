#include "eval/encoder.h"

#include <filesystem>
#include <utility>

#include "configs/load.h"
#include "eval/weights.h"
#include "model/files/file_weights.h"
#include "model/registry.h"

namespace contrail::eval {
std::string TokenizerOf(const ckpt::RunState& state) {
  const std::string quoted = ResolvedValues(state.config_toml)["data.tokenizer"];
  return quoted.size() < 2 ? "" : quoted.substr(1, quoted.size() - 2);
}

std::unique_ptr<Encoder> Encoder::Open(const FileSystem& fs, const std::string& checkpoint,
                                       int64_t batch_size, std::function<void()> on_progress) {
  std::error_code cannot_tell;  // what may not be looked at is named by whoever opens it
  if (std::filesystem::is_regular_file(checkpoint, cannot_tell)) {
    auto encoder = OpenFile(fs, checkpoint, batch_size, on_progress);
    encoder->on_progress_ = std::move(on_progress);
    return encoder;
  }
  const auto step = ckpt::StepReader::Open(fs, checkpoint);
  model::ModelSpec spec = model::FindModel(step->state().model);
  spec.activation = step->state().activation;
  spec.resolution = step->state().resolution;
  spec.mean_std = step->state().mean_std;
  spec.loss = LossOf(step->layout());
  const auto model = model::ClipModel::Create(spec);
  CheckModel(*step, spec, LayoutOf(model->params()));
  auto encoder = std::make_unique<Encoder>(spec, ReadWeights(*step, on_progress),
                                           data::Tokenizer::Load(TokenizerOf(step->state())),
                                           batch_size, ReadBuffers(*step, model->buffers()));
  encoder->state_ = step->state();
  encoder->directory_ = step->dir();
  encoder->on_progress_ = std::move(on_progress);
  return encoder;
}

std::unique_ptr<Encoder> Encoder::OpenFile(const FileSystem& fs, const std::string& path,
                                           int64_t batch_size,
                                           const std::function<void()>& on_progress) {
  const auto file = model::files::FileWeights::Open(fs, path, {});
  const auto model = model::ClipModel::Create(file->spec());
  const ckpt::Layout layout = LayoutOf(model->params());
  at::Tensor weights = at::empty({static_cast<int64_t>(layout.num_elements)}, at::kFloat);
  for (size_t i = 0; i < layout.tensors.size(); ++i) {
    file->ReadParam(i, weights.mutable_data_ptr<float>() + layout.tensors[i].begin);
    on_progress();
  }
  std::vector<at::Tensor> buffers;
  for (size_t i = 0; i < model->buffers().size(); ++i) {
    buffers.push_back(at::empty(model->buffers()[i].shape, at::kFloat));
    file->ReadBuffer(i, buffers.back().mutable_data_ptr<float>());
  }
  auto encoder = std::make_unique<Encoder>(file->spec(), std::move(weights),
                                           data::Tokenizer::Load(), batch_size, std::move(buffers));
  encoder->state_.model = file->spec().name;
  encoder->state_.activation = file->spec().activation;
  encoder->state_.resolution = file->spec().resolution;
  encoder->state_.mean_std = file->spec().mean_std;
  encoder->directory_ = file->path();
  return encoder;
}

Encoder::Encoder(const model::ModelSpec& spec, at::Tensor weights,
                 std::shared_ptr<const data::Tokenizer> tokenizer, int64_t batch_size,
                 std::vector<at::Tensor> buffers)
    : model_(model::ClipModel::Create(spec)),
      weights_(std::move(weights)),
      tokenizer_(std::move(tokenizer)),
      batch_size_(batch_size) {
  model_->Bind({ViewsOf(weights_, LayoutOf(model_->params())), {}, std::move(buffers)});
  model_->Plan(batch_size_, batch_size_ * model_->spec().text.context, /*training=*/false);
}

at::Tensor Encoder::EncodeImages(const data::Batch& batch) {
  at::Tensor features = at::empty({batch.num_samples, spec().embed_dim}, at::kFloat);
  const at::Tensor images =
      at::from_blob(const_cast<uint8_t*>(batch.images.data()),
                    {batch.num_samples, 3, batch.resolution, batch.resolution}, at::kByte);
  model_->ForwardImages(images, features, model::Keep::kNo);
  on_progress_();
  return features;
}

at::Tensor Encoder::EncodeTexts(const std::vector<std::string>& texts) {
  const auto total = static_cast<int64_t>(texts.size());
  at::Tensor features = at::empty({total, spec().embed_dim}, at::kFloat);
  for (int64_t first = 0; first < total; first += batch_size_) {
    const int64_t count = std::min(batch_size_, total - first);
    std::vector<int32_t> ids;
    std::vector<int32_t> offsets = {0};
    for (int64_t i = first; i < first + count; ++i) {
      const std::vector<int32_t> tokens = tokenizer_->Encode(texts[i]);
      ids.insert(ids.end(), tokens.begin(), tokens.end());
      offsets.push_back(static_cast<int32_t>(ids.size()));
    }
    const model::TextBatch batch = {
        at::from_blob(ids.data(), {static_cast<int64_t>(ids.size())}, at::kInt),
        at::from_blob(offsets.data(), {static_cast<int64_t>(offsets.size())}, at::kInt)};
    model_->ForwardTexts(batch, features.narrow(0, first, count), model::Keep::kNo);
    on_progress_();
  }
  return features;
}

}  // namespace contrail::eval
