#pragma once
// Zero-shot classification by prompts (Radford et al. 2021, §3.1; reference: open_clip
// zero_shot_classifier.py).
//
// Class weight: features of the class name in every template, each unit-norm, averaged and
// normalised again. An image goes to the class with the largest 100 <f, w>.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "eval/encoder.h"

namespace contrail::eval {

// Weights [C, D] of classes whose prompts' unit-norm features are [C * T, D], class-major.
at::Tensor ClassWeights(const at::Tensor& prompt_features, int64_t num_classes);

struct Score {
  double top1 = 0;  // 0..1
  double top5 = 0;
  std::vector<double> per_class;  // top-1 of each class; NaN where it has no image
};

// Counts right answers batch by batch.
class Tally {
 public:
  explicit Tally(at::Tensor class_weights);
  // features [n, D] unit norm; labels in [0, C). A tie goes to the class with the lower index.
  void Add(const at::Tensor& features, const std::vector<int64_t>& labels);
  Score Result() const;

 private:
  at::Tensor weights_;  // [C, D]
  std::vector<uint64_t> seen_, right_;
  uint64_t in_top5_ = 0;
};

struct ZeroShotResult {
  std::string checkpoint;  // the step's directory
  uint64_t step = 0;
  std::string model;
  std::string dataset;
  uint64_t samples = 0;
  std::vector<std::string> class_names;
  size_t templates = 0;
  Score one_prompt;  // "a photo of a {}."
  Score ensemble;    // all templates of the data set
  double seconds = 0;
  double samples_per_second = 0;
};

// Classifies every image of the data set directory (layout: eval/prompts.h). Throws E-EVAL-DATASET,
// E-EVAL-LABEL (an image without a label, or one outside the class names), E-EVAL-NONFINITE.
ZeroShotResult EvaluateZeroShot(Encoder& encoder, const std::string& dataset_dir);

std::string ToJson(const ZeroShotResult& result);
std::string ToText(const ZeroShotResult& result);

}  // namespace contrail::eval
