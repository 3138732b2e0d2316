#include "worker/step.h"

#include <functional>
#include <optional>

#include "common/error.h"
#include "worker/stopwatch.h"

namespace contrail::worker {
namespace {

at::Tensor Floats(int64_t rows, int64_t columns) { return at::zeros({rows, columns}, at::kFloat); }

// While collectives that were started earlier are waited for.
class Waiting {
 public:
  explicit Waiting(Progress* progress) {
    if (progress != nullptr) doing_.emplace(*progress, monitor::Activity::kExchanging);
  }

 private:
  std::optional<Doing> doing_;
};

}  // namespace

TrainStep::TrainStep(Comm& comm, model::ClipModel& model, FlatParams& flat, const Options& options)
    : comm_(comm),
      model_(model),
      flat_(flat),
      options_(options),
      local_(options.global_batch_size / comm.size()),
      micro_(options.micro_batch_size > 0 ? std::min(options.micro_batch_size, local_) : local_),
      traffic_(comm, flat, {options.overlap, options.gradients}),
      loss_(model::MakeLoss(model.spec().loss, local_, options.global_batch_size,
                            model.spec().embed_dim)) {
  CONTRAIL_ASSERT(local_ * comm.size() == options.global_batch_size && local_ % micro_ == 0);
  loss_scale_ = options.loss_scale;
  const int64_t dim = model.spec().embed_dim;
  image_ = Floats(local_, dim);
  text_ = Floats(local_, dim);
  packed_ = Floats(local_, 2 * dim);
  gathered_ = Floats(options.global_batch_size, 2 * dim);
  d_image_ = Floats(local_, dim);
  d_text_ = Floats(local_, dim);
  const auto& params = model.params();
  for (size_t i = 0; i < params.size(); ++i) {
    if (params[i].name == "logit_scale") scale_ = i;
    if (params[i].name == "logit_bias") bias_ = i;
  }
  CONTRAIL_ASSERT(scale_ > 0);
  logit_group_ = params[scale_].group;
  model_.Plan(micro_, micro_ * model.spec().text.context,
              {/*for_training=*/true, options.recompute});
  model_.SetGroupNeeded([this](int group) { Need(group); });
}

TrainStep::~TrainStep() { model_.SetGroupNeeded(nullptr); }

void TrainStep::Touch() {
  if (options_.progress != nullptr) options_.progress->Touch();
}

// A block is about to be computed: the one before it is.
void TrainStep::Need(int group) {
  const Waiting waiting(options_.progress);
  traffic_.Need(group);
}

void TrainStep::WaitForWeights() {
  const Waiting waiting(options_.progress);
  traffic_.NeedAll();
}

void TrainStep::Cut(const data::Batch& batch) {
  CONTRAIL_ASSERT(batch.num_samples == local_);
  const int64_t side = batch.resolution;
  const at::Tensor images =
      at::from_blob(const_cast<uint8_t*>(batch.images.data()), {local_, 3, side, side}, at::kByte);
  offsets_.assign((local_ / micro_) * (micro_ + 1), 0);
  micros_.clear();
  for (int64_t first = 0; first < local_; first += micro_) {
    int32_t* offsets = offsets_.data() + first / micro_ * (micro_ + 1);
    const int32_t base = batch.text_offsets[first];
    for (int64_t i = 0; i <= micro_; ++i) offsets[i] = batch.text_offsets[first + i] - base;
    micros_.push_back({images.narrow(0, first, micro_),
                       {at::from_blob(const_cast<int32_t*>(batch.token_ids.data()) + base,
                                      {offsets[micro_]}, at::kInt),
                        at::from_blob(offsets, {micro_ + 1}, at::kInt)},
                       image_.narrow(0, first, micro_),
                       text_.narrow(0, first, micro_),
                       d_image_.narrow(0, first, micro_),
                       d_text_.narrow(0, first, micro_)});
  }
}

void TrainStep::Encode(const data::Batch& batch, monitor::StepTimes& times) {
  Stopwatch watch;
  Cut(batch);
  // One micro-batch needs no second forward: its activations stay until the backward.
  const model::Keep keep = micros_.size() == 1 ? model::Keep::kYes : model::Keep::kNo;
  for (Micro& micro : micros_) {
    model_.ForwardImages(micro.images, micro.image, keep);
    model_.ForwardTexts(micro.texts, micro.text, keep);
  }
  times.weight_gather = static_cast<float>(traffic_.TakeGatherSeconds());
  times.forward = watch.Lap() - times.weight_gather;
}

void TrainStep::Gather(monitor::StepTimes& times) {
  Stopwatch watch;
  const int64_t dim = image_.size(1);
  packed_.narrow(1, 0, dim).copy_(image_);
  packed_.narrow(1, dim, dim).copy_(text_);
  comm_.AllGather(gathered_, packed_);
  times.feature_gather = watch.Lap();
}

model::LossOutput TrainStep::Loss(monitor::StepTimes& times) {
  Stopwatch watch;
  const int64_t dim = image_.size(1);
  const model::LossInput input = {.image = image_,
                                  .text = text_,
                                  .image_all = gathered_.narrow(1, 0, dim),
                                  .text_all = gathered_.narrow(1, dim, dim),
                                  .offset = comm_.rank() * local_,
                                  .scale = logit_scale(),
                                  .bias = logit_bias()};
  const model::LossOutput output =
      loss_->Compute(input, d_image_, d_text_,
                     [this](at::Tensor tensor) { comm_.AllReduceSum(std::move(tensor)); });
  // Every gradient below is larger by the loss scale, until the optimizer divides by it.
  d_scale_ = output.d_scale * loss_scale_.value();
  d_bias_ = output.d_bias * loss_scale_.value();
  if (loss_scale_.on()) {
    d_image_.mul_(loss_scale_.value());
    d_text_.mul_(loss_scale_.value());
  }
  last_loss_ = output.loss;
  times.loss = watch.Lap();
  return output;
}

void TrainStep::Backward(monitor::StepTimes& times) {
  Stopwatch watch;
  flat_.ZeroGrads();
  flat_.StartBackward();
  AddLogitGradients();
  ReduceWhenReady(logit_group_);
  const auto done = [&](int group) { ReduceWhenReady(group); };
  const auto not_done = [&](int) { Touch(); };
  // Groups count up in the order of forward use, so the text tower's come first on the way back.
  for (size_t i = 0; i < micros_.size(); ++i) {
    Micro& micro = micros_[i];
    if (micros_.size() > 1) model_.ForwardTexts(micro.texts, micro.text, model::Keep::kYes);
    if (i + 1 < micros_.size()) {
      model_.BackwardTexts(micro.d_text, not_done);
    } else {
      model_.BackwardTexts(micro.d_text, done);
    }
  }
  for (size_t i = 0; i < micros_.size(); ++i) {
    Micro& micro = micros_[i];
    if (micros_.size() > 1) model_.ForwardImages(micro.images, micro.image, model::Keep::kYes);
    if (i + 1 < micros_.size()) {
      model_.BackwardImages(micro.d_image, not_done);
    } else {
      model_.BackwardImages(micro.d_image, done);
    }
  }
  {
    const Waiting waiting(options_.progress);
    traffic_.FinishReduces();
  }
  times.grad_reduce = static_cast<float>(traffic_.TakeReduceSeconds());
  times.backward = watch.Lap() - times.grad_reduce;
}

// The parameter is ln s, so its gradient is s dL/ds. Both are global already: one rank adds them.
void TrainStep::AddLogitGradients() {
  if (comm_.rank() != 0) return;
  const std::vector<at::Tensor>& grads = flat_.views().grads;
  grads[scale_].fill_(d_scale_ * logit_scale());
  if (bias_ > 0) grads[bias_].fill_(d_bias_);
}

void TrainStep::ReduceWhenReady(int group) {
  const Waiting waiting(options_.progress);  // there and then, where nothing overlaps
  for (const int bucket : flat_.GroupDone(group)) traffic_.StartReduce(bucket);
}

double TrainStep::OwnGradSquares() const {
  return SumOfOwnGradSquares(flat_) / (loss_scale_.value() * loss_scale_.value());
}

void TrainStep::Update(uint64_t update, double lr, double grad_norm, monitor::StepTimes& times) {
  Stopwatch watch;
  const double grad_scale = ClipScale(grad_norm, options_.grad_clip_norm) / loss_scale_.value();
  loss_scale_.Good();
  for (const int bucket : traffic_.order_of_use()) {
    AdamWStep(flat_, bucket, options_.adamw, update, lr, grad_scale);
    ClampOwnLogitScale(bucket);
    const Waiting waiting(options_.progress);
    traffic_.StartGather(bucket);
  }
  model_.FoldStatistics();
  const auto kept = static_cast<float>(traffic_.TakeGatherSeconds());
  times.weight_gather += kept;
  times.optimizer = watch.Lap() - kept;
}

// By its owner before the gather, so that checkpoints hold what every rank will compute with.
void TrainStep::ClampOwnLogitScale(int bucket) {
  const at::Tensor own = flat_.own_weights(bucket);
  if (own.scalar_type() != at::kFloat) return;  // matrices without masters
  const float* begin = own.data_ptr<float>();
  const at::Tensor scale = flat_.views().weights[scale_];
  const float* place = scale.data_ptr<float>();
  if (!std::less<>()(place, begin) && std::less<>()(place, begin + own.numel())) {
    ClampLogitScale(scale, options_.logit_scale_max);
  }
}

void TrainStep::Skip() { model_.DropStatistics(); }

// Own slices hold sums already; the rest of every bucket is still this rank's own.
bool TrainStep::OwnGradientBroken() const {
  const auto broken = [](const at::Tensor& grads) {
    return grads.numel() > 0 && !at::isfinite(grads.sum()).item<bool>();
  };
  for (int bucket = 0; bucket < flat_.num_buckets(); ++bucket) {
    const at::Tensor grads = flat_.grads(bucket);
    const int64_t slice = grads.numel() / comm_.size();
    const int64_t own = comm_.rank() * slice;
    if (comm_.size() == 1 ? broken(grads)
                          : broken(grads.narrow(0, 0, own)) ||
                                broken(grads.narrow(0, own + slice, grads.numel() - own - slice))) {
      return true;
    }
  }
  return false;
}

std::vector<int64_t> TrainStep::BrokenRows() const {
  const at::Tensor broken = at::isfinite(gathered_).all(1).logical_not().nonzero().flatten();
  const int64_t* rows = broken.const_data_ptr<int64_t>();
  return {rows, rows + broken.numel()};
}

double TrainStep::logit_scale() {
  Need(logit_group_);
  return std::exp(static_cast<double>(flat_.views().weights[scale_].item<float>()));
}

double TrainStep::logit_bias() {
  Need(logit_group_);
  return bias_ > 0 ? static_cast<double>(flat_.views().weights[bias_].item<float>()) : 0;
}

}  // namespace contrail::worker
