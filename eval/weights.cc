#include "eval/weights.h"

#include <algorithm>

#include "common/error.h"
#include "model/positions.h"
#include "model/registry.h"

namespace contrail::eval {
namespace {

std::string Describe(const ckpt::TensorInfo& tensor) {
  std::string text = "'" + tensor.name + "' [";
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(tensor.shape[i]);
  }
  return text + "]";
}

// What first differs between two layouts, or "".
std::string FirstDifference(const ckpt::Layout& has, const ckpt::Layout& wants) {
  const size_t common = std::min(has.tensors.size(), wants.tensors.size());
  for (size_t i = 0; i < common; ++i) {
    const auto& a = has.tensors[i];
    const auto& b = wants.tensors[i];
    if (a.name != b.name || a.shape != b.shape) {
      return "it has " + Describe(a) + " where the model has " + Describe(b);
    }
  }
  if (has.tensors.size() > common) return "it has " + Describe(has.tensors[common]) + " besides";
  if (wants.tensors.size() > common) return "it has no " + Describe(wants.tensors[common]);
  return "";
}

[[noreturn]] void Fail(const ckpt::StepReader& step, const std::string& what) {
  throw UserError("E-CKPT-MODEL", step.dir(), "is a checkpoint of another model: " + what,
                  "set model.name and model.activation as it was trained, or choose another "
                  "checkpoint");
}

void CheckTensors(const ckpt::StepReader& step, const model::ModelSpec& spec,
                  const ckpt::Layout& held, const ckpt::Layout& wanted) {
  if (step.state().activation != spec.activation) {
    Fail(step, "it was trained with " + step.state().activation + ", asked for " + spec.activation);
  }
  if (step.state().mean_std != spec.mean_std) {
    throw UserError("E-MEAN-STD", step.dir(),
                    "was trained with images normalised as \"" + step.state().mean_std +
                        "\", the config says \"" + spec.mean_std + "\"",
                    "set data.mean_std = \"" + step.state().mean_std + "\"");
  }
  const std::string difference = FirstDifference(held, wanted);
  if (!difference.empty()) Fail(step, difference);
}

// Whether `held` becomes `wanted` by a change of resolution.
bool IsResampled(const ckpt::TensorInfo& held, const ckpt::TensorInfo& wanted) {
  return held.name == wanted.name && model::IsImagePositions(held.name) && held.shape.size() == 2 &&
         held.shape[0] != wanted.shape[0] && held.shape[1] == wanted.shape[1];
}

}  // namespace

ckpt::Layout LayoutOf(const std::vector<model::ParamSpec>& params) {
  ckpt::Layout layout;
  for (const model::ParamSpec& param : params) {
    const auto size = static_cast<uint64_t>(model::NumElements(param));
    layout.tensors.push_back({param.name, param.shape, layout.num_elements, size});
    layout.num_elements += size;
  }
  return layout;
}

std::string LossOf(const ckpt::Layout& layout) {
  const auto is_bias = [](const ckpt::TensorInfo& tensor) { return tensor.name == "logit_bias"; };
  return std::any_of(layout.tensors.begin(), layout.tensors.end(), is_bias) ? "siglip" : "clip";
}

void CheckModel(const ckpt::StepReader& step, const model::ModelSpec& spec,
                const ckpt::Layout& layout) {
  if (step.state().model != spec.name) {
    Fail(step, "it holds " + step.state().model + ", asked for " + spec.name);
  }
  CheckTensors(step, spec, step.layout(), layout);
}

void CheckModelUpToResolution(const ckpt::StepReader& step, const model::ModelSpec& spec,
                              const ckpt::Layout& layout) {
  if (step.state().model != spec.name) {
    model::ModelSpec held = model::FindModel(step.state().model);
    held.activation = spec.activation;  // compared below
    if (!model::SameUpToResolution(held, spec)) {
      Fail(step, "it holds " + held.name + ", asked for " + spec.name);
    }
  }
  ckpt::Layout held = step.layout();
  for (size_t i = 0; i < std::min(held.tensors.size(), layout.tensors.size()); ++i) {
    if (IsResampled(held.tensors[i], layout.tensors[i])) {
      held.tensors[i].shape = layout.tensors[i].shape;
    }
  }
  CheckTensors(step, spec, held, layout);
}

void ReadResampled(const ckpt::StepReader& step, const ckpt::Layout& layout, ckpt::Range range,
                   float* out) {
  const auto& held = step.layout().tensors;
  for (size_t i = 0; i < layout.tensors.size(); ++i) {
    const ckpt::TensorInfo& tensor = layout.tensors[i];
    const uint64_t begin = std::max(range.begin, tensor.begin);
    const uint64_t end = std::min(range.end, tensor.begin + tensor.num_elements);
    if (begin >= end) continue;
    const uint64_t first = begin - tensor.begin, count = end - begin;
    if (held[i].shape == tensor.shape) {
      step.Read(0, {held[i].begin + first, held[i].begin + first + count}, out);
    } else {
      at::Tensor positions = at::empty(held[i].shape, at::kFloat);
      step.Read(0, {held[i].begin, held[i].begin + held[i].num_elements},
                positions.mutable_data_ptr<float>());
      positions = model::ResamplePositions(positions, tensor.shape[0]);
      std::copy_n(positions.const_data_ptr<float>() + first, count, out);
    }
    out += count;
  }
}

at::Tensor ReadWeights(const ckpt::StepReader& step, const std::function<void()>& on_progress) {
  constexpr uint64_t kPiece = 16 << 20;  // elements: seconds at most, even on a slow disk
  const uint64_t size = step.layout().num_elements;
  at::Tensor flat = at::empty({static_cast<int64_t>(size)}, at::kFloat);
  for (uint64_t begin = 0; begin < size; begin += kPiece) {
    const uint64_t end = std::min(size, begin + kPiece);
    step.Read(0, {begin, end}, flat.mutable_data_ptr<float>() + begin);
    on_progress();
  }
  return flat;
}

std::vector<at::Tensor> ReadBuffers(const ckpt::StepReader& step,
                                    const std::vector<model::BufferSpec>& specs) {
  std::vector<at::Tensor> buffers;
  for (const model::BufferSpec& spec : specs) {
    const auto& arrays = step.buffers();
    const auto found =
        std::find_if(arrays.begin(), arrays.end(), [&](const ckpt::NamedArray& array) {
          return array.name == spec.name && array.shape == spec.shape;
        });
    if (found == arrays.end()) {
      throw UserError(
          "E-MODEL-STATISTICS", step.dir(),
          "has no '" + spec.name + "': the running statistics of batch norm are missing",
          "use a checkpoint that was saved with them");
    }
    buffers.push_back(at::tensor(at::ArrayRef<float>(found->data)).view(spec.shape));
  }
  return buffers;
}

std::vector<at::Tensor> ViewsOf(const at::Tensor& flat, const ckpt::Layout& layout) {
  std::vector<at::Tensor> views;
  for (const ckpt::TensorInfo& tensor : layout.tensors) {
    views.push_back(flat.narrow(0, static_cast<int64_t>(tensor.begin),
                                static_cast<int64_t>(tensor.num_elements))
                        .view(tensor.shape));
  }
  return views;
}

}  // namespace contrail::eval
