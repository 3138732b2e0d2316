#pragma once
// ClipModel over one op table. Callers use clip.h; proofs use the switches here.

#include "model/clip.h"
#include "model/image_tower.h"
#include "model/text.h"

namespace contrail::model {

class ClipOverOps final : public ClipModel {
 public:
  struct Options {
    bool prune_last_block = true;  // exact either way; false costs time
  };
  ClipOverOps(const ModelSpec& spec, const OpTable& ops, Options options);

  const ModelSpec& spec() const override { return spec_; }
  const std::vector<ParamSpec>& params() const override { return params_; }
  const std::vector<BufferSpec>& buffers() const override { return buffers_; }
  void Bind(BoundParams params) override;
  void Plan(int64_t max_samples, int64_t max_tokens, const PlanFor& what) override;
  // Lays the towers' slots out.
  ArenaPlan LayOut(int64_t max_samples, int64_t max_tokens, const PlanFor& what);
  int64_t arena_bytes() const override { return arena_.bytes(); }

  void FoldStatistics() override { image_->FoldStatistics(ops_); }
  void DropStatistics() override { image_->DropStatistics(); }

  void ForwardImages(const at::Tensor& images, at::Tensor features, Keep keep) override;
  void BackwardImages(const at::Tensor& d_features, const GroupDone& done) override;
  void ForwardTexts(const TextBatch& texts, at::Tensor features, Keep keep) override;
  void BackwardTexts(const at::Tensor& d_features, const GroupDone& done) override;
  void SetGroupNeeded(const GroupNeeded& needed) override {
    image_->SetGroupNeeded(needed);
    text_.SetGroupNeeded(needed);
  }

 private:
  void BindBuffers(const std::vector<at::Tensor>& buffers);
  View Features(const at::Tensor& features, int64_t count) const;

  ModelSpec spec_;
  const OpTable& ops_;
  std::unique_ptr<ImageTower> image_;
  TextTower text_;
  std::vector<ParamSpec> params_;
  std::vector<BufferSpec> buffers_;

  BoundParams bound_;
  at::ScalarType type_;
  int64_t max_samples_ = 0;
  bool training_ = false;
  Arena arena_;
};

}  // namespace contrail::model
