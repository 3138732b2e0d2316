#include "eval/zero_shot.h"

#include "common/clock.h"
#include "common/error.h"
#include "data/dataset.h"
#include "eval/batches.h"
#include "eval/prompts.h"
#include "eval/synthetic_trained.h"

namespace contrail::eval {
namespace {

at::Tensor WeightsOf(Encoder& encoder, const std::vector<std::string>& class_names,
                     const std::vector<std::string>& templates) {
  std::vector<std::string> texts;
  for (const std::string& name : class_names) {
    for (const std::string& text : templates) texts.push_back(FillTemplate(text, name));
  }
  return ClassWeights(encoder.EncodeTexts(texts), static_cast<int64_t>(class_names.size()));
}

void CheckLabels(const data::Batch& batch, size_t num_classes) {
  for (int64_t i = 0; i < batch.num_samples; ++i) {
    const int64_t label = batch.labels[i];
    if (label >= 0 && label < static_cast<int64_t>(num_classes)) continue;
    throw UserError("E-EVAL-LABEL", batch.keys[i],
                    label < 0 ? "the image has no .cls label"
                              : "label " + std::to_string(label) + " is not among the " +
                                    std::to_string(num_classes) + " class names",
                    "pack the data set with labels, one line of classnames.txt a class");
  }
}

}  // namespace

at::Tensor ClassWeights(const at::Tensor& prompt_features, int64_t num_classes) {
  const int64_t dim = prompt_features.size(1);
  const at::Tensor mean = prompt_features.view({num_classes, -1, dim}).mean(1);
  return mean / mean.norm(2, {1}, /*keepdim=*/true);
}

Tally::Tally(at::Tensor class_weights)
    : weights_(std::move(class_weights)), seen_(weights_.size(0), 0), right_(weights_.size(0), 0) {}

void Tally::Add(const at::Tensor& features, const std::vector<int64_t>& labels) {
  const at::Tensor logits = 100 * at::mm(features, weights_.t());
  // A NaN is below and above nothing: it would count as a right answer.
  if (!at::isfinite(logits).all().item<bool>()) {
    throw EnvironmentError("E-EVAL-NONFINITE", "", "the model's features hold NaN or infinity",
                           "its weights are broken");
  }
  const int64_t classes = weights_.size(0);
  const float* row = logits.const_data_ptr<float>();
  for (const int64_t label : labels) {
    int64_t better = 0;
    for (int64_t c = 0; c < classes; ++c) {
      better += row[c] > row[label] || (row[c] == row[label] && c < label);
    }
    ++seen_[label];
    right_[label] += better == 0;
    in_top5_ += better < 5;
    row += classes;
  }
}

Score Tally::Result() const {
  Score score;
  uint64_t seen = 0;
  uint64_t right = 0;
  for (size_t c = 0; c < seen_.size(); ++c) {
    seen += seen_[c];
    right += right_[c];
    score.per_class.push_back(static_cast<double>(right_[c]) / static_cast<double>(seen_[c]));
  }
  score.top1 = static_cast<double>(right) / static_cast<double>(seen);
  score.top5 = static_cast<double>(in_top5_) / static_cast<double>(seen);
  return score;
}

ZeroShotResult EvaluateZeroShot(Encoder& encoder, const std::string& dataset_dir) {
  RefuseSyntheticTrained(encoder.state(), encoder.directory());
  const PromptSet prompts = ReadPrompts(dataset_dir);
  const auto dataset = data::Dataset::Open(FindShards(dataset_dir));
  Tally one_prompt(WeightsOf(encoder, prompts.class_names, {kOnePrompt}));
  Tally ensemble(WeightsOf(encoder, prompts.class_names, prompts.templates));

  const double start = SystemClock().Monotonic();
  ForEachBatch(*dataset, encoder.tokenizer(), encoder.spec().resolution, encoder.batch_size(),
               [&](const data::Batch& batch, uint64_t) {
                 CheckLabels(batch, prompts.class_names.size());
                 const at::Tensor features = encoder.EncodeImages(batch);
                 one_prompt.Add(features, batch.labels);
                 ensemble.Add(features, batch.labels);
               });

  ZeroShotResult result;
  result.seconds = SystemClock().Monotonic() - start;
  result.checkpoint = encoder.directory();
  result.step = encoder.state().step;
  result.model = encoder.spec().name;
  result.dataset = dataset_dir;
  result.samples = dataset->size();
  result.class_names = prompts.class_names;
  result.templates = prompts.templates.size();
  result.one_prompt = one_prompt.Result();
  result.ensemble = ensemble.Result();
  result.samples_per_second = static_cast<double>(result.samples) / result.seconds;
  return result;
}

}  // namespace contrail::eval
