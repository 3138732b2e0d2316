#pragma once
// A committed step as a model whose tensors are read one at a time.

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/load.h"
#include "model/files/model_weights.h"

namespace contrail::eval {

class StepWeights : public model::files::ModelWeights {
 public:
  // `checkpoint`: as in ckpt::StepReader::Open. Throws as that, E-MODEL-NAME, E-CKPT-MODEL,
  // E-MODEL-STATISTICS.
  static std::unique_ptr<StepWeights> Open(const FileSystem& fs, const std::string& checkpoint);

  const model::ModelSpec& spec() const override { return spec_; }
  const model::files::Inventory& inventory() const override { return inventory_; }
  void ReadParam(size_t index, float* out) override;
  void ReadBuffer(size_t index, float* out) override;

  const ckpt::StepReader& step() const { return *step_; }

 private:
  std::unique_ptr<ckpt::StepReader> step_;
  model::ModelSpec spec_;
  model::files::Inventory inventory_;
  std::vector<at::Tensor> buffers_;
};

}  // namespace contrail::eval
