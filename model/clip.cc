#include "model/clip.h"

#include "common/error.h"
#include "model/clip_impl.h"
#include "model/resnet.h"
#include "model/vit.h"

namespace contrail::model {

namespace {

std::unique_ptr<ImageTower> MakeImageTower(const ModelSpec& spec, bool prune) {
  if (spec.resnet.layers.empty()) return std::make_unique<VitTower>(spec, prune);
  return std::make_unique<ResnetTower>(spec);
}

}  // namespace

std::unique_ptr<ClipModel> ClipModel::Create(const ModelSpec& spec) {
  return std::make_unique<ClipOverOps>(spec, CpuOps(), ClipOverOps::Options{});
}

ClipOverOps::ClipOverOps(const ModelSpec& spec, const OpTable& ops, Options options)
    : spec_(spec),
      ops_(ops),
      image_(MakeImageTower(spec, options.prune_last_block)),
      text_(spec, options.prune_last_block),
      type_(at::kFloat) {
  if (spec.activation != "quick_gelu" && spec.activation != "gelu") {
    throw UserError("E-MODEL-ACTIVATION", "model.activation",
                    "no activation is called '" + spec.activation + "'",
                    "use one of: quick_gelu, gelu");
  }
  if (spec.resolution <= 0 || spec.resolution % PixelsToACell(spec) != 0) {
    throw UserError("E-MODEL-RESOLUTION", spec.name,
                    "resolution " + std::to_string(spec.resolution) + " is not a multiple of " +
                        std::to_string(PixelsToACell(spec)) + ", " + CellName(spec),
                    "choose a multiple");
  }
  if (spec.resolution > kLargestResolution) {
    throw UserError("E-MODEL-RESOLUTION", spec.name,
                    "resolution " + std::to_string(spec.resolution) + " is too large",
                    "choose at most " + std::to_string(kLargestResolution));
  }
  ParamList list;
  image_->Declare(&list);
  buffers_ = image_->Buffers();
  text_.Declare(&list);
  list.NextGroup();
  if (spec.loss == "siglip") {  // Zhai et al. 2023, section 3.2
    list.Add("logit_scale", {}, {Init::Kind::kConstant, std::log(10.0)});
    list.Add("logit_bias", {}, {Init::Kind::kConstant, -10.0});
  } else {
    list.Add("logit_scale", {}, {Init::Kind::kConstant, std::log(1.0 / 0.07)});
  }
  params_ = std::move(list.specs());
}

void ClipOverOps::Bind(BoundParams params) {
  CONTRAIL_ASSERT(params.weights.size() == params_.size());
  CONTRAIL_ASSERT(params.grads.empty() || params.grads.size() == params_.size());
  const auto first_matrix = std::find_if(params_.begin(), params_.end(),
                                         [](const ParamSpec& spec) { return spec.matrix; });
  type_ = params.weights[static_cast<size_t>(first_matrix - params_.begin())].scalar_type();
  for (size_t i = 0; i < params_.size(); ++i) {
    for (const auto* tensors : {&params.weights, &params.grads}) {
      if (tensors->empty()) continue;
      const at::Tensor& tensor = (*tensors)[i];
      const bool narrow = params_[i].matrix && tensors == &params.weights;
      CONTRAIL_ASSERT(tensor.numel() == NumElements(params_[i]) && tensor.is_contiguous() &&
                      tensor.scalar_type() == (narrow ? type_ : WideType(type_)));
    }
  }
  // Whoever holds flat buffers may bind one-dimensional slices of them.
  for (auto* tensors : {&params.weights, &params.grads}) {
    for (size_t i = 0; i < tensors->size(); ++i) {
      (*tensors)[i] = (*tensors)[i].detach().view(params_[i].shape);
    }
  }
  BindBuffers(params.buffers);
  bound_ = std::move(params);
  ParamCursor cursor(bound_);
  image_->Bind(&cursor);
  text_.Bind(&cursor);
}

void ClipOverOps::BindBuffers(const std::vector<at::Tensor>& buffers) {
  if (buffers.empty() && !buffers_.empty()) {
    throw UserError("E-MODEL-STATISTICS", spec_.name,
                    "the running statistics of its batch norm are missing",
                    "give the values they were saved with");
  }
  CONTRAIL_ASSERT(buffers.size() == buffers_.size());
  for (size_t i = 0; i < buffers.size(); ++i) {
    CONTRAIL_ASSERT(buffers[i].numel() == buffers_[i].shape[0] && buffers[i].is_contiguous() &&
                    buffers[i].scalar_type() == WideType(type_));
  }
  image_->BindBuffers(buffers);
}

ArenaPlan ClipOverOps::LayOut(int64_t max_samples, int64_t max_tokens, const PlanFor& what) {
  if (max_tokens <= 0) max_tokens = max_samples * spec_.text.context;
  ArenaPlan plan(type_);
  image_->Plan(max_samples, what, &plan);
  text_.Plan(max_samples, max_tokens, what, &plan);
  const int64_t scratch = plan.Mark();  // the towers never run at once
  image_->PlanScratch(what.training, &plan);
  plan.Rewind(scratch);
  text_.PlanScratch(what.training, &plan);
  return plan;
}

void ClipOverOps::Plan(int64_t max_samples, int64_t max_tokens, const PlanFor& what) {
  CONTRAIL_ASSERT(max_samples > 0 &&
                  (!what.training || bound_.weights.empty() || !bound_.grads.empty()));
  max_samples_ = max_samples;
  training_ = what.training;
  const ArenaPlan plan = LayOut(max_samples, max_tokens, what);
  arena_ = Arena();
  arena_ = Arena(plan);
}

int64_t PlannedBytes(const ModelSpec& spec, int64_t max_samples, int64_t max_tokens,
                     const PlanFor& what) {
  ClipOverOps model(spec, CpuOps(), ClipOverOps::Options{});
  return model.LayOut(max_samples, max_tokens, what).bytes();
}

View ClipOverOps::Features(const at::Tensor& features, int64_t count) const {
  CONTRAIL_ASSERT(features.dim() == 2 && features.size(0) == count &&
                  features.size(1) == spec_.embed_dim &&
                  features.scalar_type() == WideType(type_) && count > 0 && count <= max_samples_);
  return AsView(features);
}

void ClipOverOps::ForwardImages(const at::Tensor& images, at::Tensor features, Keep keep) {
  CONTRAIL_ASSERT(images.scalar_type() == at::kByte && images.is_contiguous() &&
                  images.dim() == 4 && images.size(1) == 3 && images.size(2) == spec_.resolution &&
                  images.size(3) == spec_.resolution);
  CONTRAIL_ASSERT(keep == Keep::kNo || training_);
  image_->Forward(ops_, arena_, images.const_data_ptr<uint8_t>(), images.size(0),
                  Features(features, images.size(0)), keep == Keep::kYes);
}

void ClipOverOps::BackwardImages(const at::Tensor& d_features, const GroupDone& done) {
  CONTRAIL_ASSERT(!bound_.grads.empty());
  const auto ready = [&](int group) {
    if (done) done(group);
  };
  image_->Backward(ops_, arena_, Features(d_features, d_features.size(0)), ready);
}

void ClipOverOps::ForwardTexts(const TextBatch& texts, at::Tensor features, Keep keep) {
  CONTRAIL_ASSERT(texts.token_ids.is_contiguous() && texts.offsets.is_contiguous());
  CONTRAIL_ASSERT(keep == Keep::kNo || training_);
  text_.Forward(ops_, arena_, texts, Features(features, texts.offsets.numel() - 1),
                keep == Keep::kYes);
}

void ClipOverOps::BackwardTexts(const at::Tensor& d_features, const GroupDone& done) {
  CONTRAIL_ASSERT(!bound_.grads.empty());
  const auto ready = [&](int group) {
    if (done) done(group);
  };
  text_.Backward(ops_, arena_, Features(d_features, d_features.size(0)), ready);
}

}  // namespace contrail::model
