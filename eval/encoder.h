#pragma once
// A trained model that turns images and texts into unit-norm features.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/load.h"
#include "data/batch.h"
#include "data/tokenizer.h"
#include "model/clip.h"

namespace contrail::eval {

// The merges file the run was trained with; "" = the one shipped beside the program.
std::string TokenizerOf(const ckpt::RunState& state);

class Encoder {
 public:
  // `checkpoint`: a committed step, a run directory (its newest step), or a file of weights. Throws
  // as ckpt::StepReader::Open or model::files::FileWeights::Open, and E-MODEL-NAME, E-CKPT-MODEL,
  // E-MODEL-STATISTICS.
  // `on_progress` is called with every piece of weights read and every batch encoded.
  static std::unique_ptr<Encoder> Open(
      const FileSystem& fs, const std::string& checkpoint, int64_t batch_size,
      std::function<void()> on_progress = [] {});
  // From weights in memory, fp32 [number of parameters], in the model's order. `buffers`: its
  // running statistics, in the order of ClipModel::buffers().
  Encoder(const model::ModelSpec& spec, at::Tensor weights,
          std::shared_ptr<const data::Tokenizer> tokenizer, int64_t batch_size,
          std::vector<at::Tensor> buffers = {});

  const model::ModelSpec& spec() const { return model_->spec(); }
  const data::Tokenizer& tokenizer() const { return *tokenizer_; }
  int64_t batch_size() const { return batch_size_; }
  const ckpt::RunState& state() const { return state_; }       // empty when made from memory
  const std::string& directory() const { return directory_; }  // of the step, or the file

  // At most batch_size() images -> [n, D].
  at::Tensor EncodeImages(const data::Batch& batch);
  // Any number of texts -> [n, D].
  at::Tensor EncodeTexts(const std::vector<std::string>& texts);

 private:
  static std::unique_ptr<Encoder> OpenFile(const FileSystem& fs, const std::string& path,
                                           int64_t batch_size,
                                           const std::function<void()>& on_progress);

  std::unique_ptr<model::ClipModel> model_;
  at::Tensor weights_;
  std::shared_ptr<const data::Tokenizer> tokenizer_;
  int64_t batch_size_;
  ckpt::RunState state_;
  std::string directory_;
  std::function<void()> on_progress_ = [] {};
};

}  // namespace contrail::eval
