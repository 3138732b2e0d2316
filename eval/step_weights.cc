#include "eval/step_weights.h"

#include "eval/weights.h"
#include "model/clip.h"

namespace contrail::eval {

std::unique_ptr<StepWeights> StepWeights::Open(const FileSystem& fs,
                                               const std::string& checkpoint) {
  auto weights = std::make_unique<StepWeights>();
  weights->step_ = ckpt::StepReader::Open(fs, checkpoint);
  const ckpt::RunState& state = weights->step_->state();
  weights->spec_ = model::FindModel(state.model);
  weights->spec_.activation = state.activation;
  weights->spec_.resolution = state.resolution;
  weights->spec_.mean_std = state.mean_std;
  weights->spec_.loss = LossOf(weights->step_->layout());
  const auto clip = model::ClipModel::Create(weights->spec_);
  CheckModel(*weights->step_, weights->spec_, LayoutOf(clip->params()));
  weights->buffers_ = ReadBuffers(*weights->step_, clip->buffers());
  weights->inventory_ = model::files::InventoryOf(weights->spec_);
  return weights;
}

void StepWeights::ReadParam(size_t index, float* out) {
  const ckpt::TensorInfo& tensor = step_->layout().tensors[index];
  step_->Read(0, {tensor.begin, tensor.begin + tensor.num_elements}, out);
}

void StepWeights::ReadBuffer(size_t index, float* out) {
  const at::Tensor& buffer = buffers_[index];
  std::copy_n(buffer.const_data_ptr<float>(), buffer.numel(), out);
}

}  // namespace contrail::eval
