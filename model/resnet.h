#pragma once
// The image tower of CLIP's RN models (Radford et al. 2021, 2.4: "ModifiedResNet"): a stem of three
// convolutions, four stages of bottlenecks, attention pooling. Activations are channels-last.
//
// Legend: b samples, w width, R resolution, D embed_dim.

#include "model/attention_pool.h"
#include "model/bottleneck.h"
#include "model/image_tower.h"

namespace contrail::model {

class ResnetTower final : public ImageTower {
 public:
  explicit ResnetTower(const ModelSpec& spec);

  void Declare(ParamList* list) override;
  void Bind(ParamCursor* cursor) override;
  void Plan(int64_t samples, const PlanFor& what, ArenaPlan* plan) override;
  void PlanScratch(bool training, ArenaPlan* plan) override;
  void Forward(const OpTable& ops, const Arena& arena, const uint8_t* images, int64_t count,
               View features, bool keep) override;
  void Backward(const OpTable& ops, const Arena& arena, View d_features,
                const GroupDone& done) override;
  void SetGroupNeeded(const GroupNeeded& needed) override { needed_ = needed; }

  std::vector<BufferSpec> Buffers() const override;
  void BindBuffers(const std::vector<at::Tensor>& buffers) override;
  void FoldStatistics(const OpTable& ops) override;
  void DropStatistics() override;

 private:
  static constexpr size_t kStem = 3;
  static constexpr int64_t kStride = 32;  // pixels to a position of the last stage

  int Places() const { return static_cast<int>(blocks_.size()) + 2; }
  int Back(int place) const;
  int BackEnd(int place) const;
  Lives Kept(int place) const;
  bool FormsAgain(size_t block) const;
  void PlanStem(LivePlan* plan);
  void PlanBlock(size_t block, LivePlan* plan);
  void PlanInputs(LivePlan* plan);
  void PlanGradients(LivePlan* plan);
  NormMode Mode(int64_t count, bool collect) const;
  int64_t GroupsOf(int64_t count) const;
  // Of the stem's convolutions' outputs, and of block `i`'s input.
  ImageShape StemShape(int64_t count) const { return {count, resolution_ / 2, resolution_ / 2}; }
  ImageShape InputShape(size_t block, int64_t count) const;
  int64_t InputChannels(size_t block) const;
  size_t GradientOf(size_t input) const {
    return input == 0 ? 0 : static_cast<size_t>(stages_[input - 1]) + 1;
  }
  View Input(const Arena& arena, size_t block, int64_t count) const;
  void ForwardStem(const OpTable& ops, const Arena& arena, int64_t count, const NormMode& mode,
                   View out);
  void BackwardStem(const OpTable& ops, const Arena& arena, int64_t groups, View d) const;

  int64_t resolution_;
  Normalisation pixels_are_;
  int64_t width_, bn_group_size_;
  std::vector<ConvNorm> stem_;
  std::vector<Bottleneck> blocks_;
  std::vector<int> stages_;         // of the blocks, from 0
  std::vector<std::string> names_;  // of the blocks: "layer1.0" ...
  AttentionPool pool_;
  int first_group_ = 0, pool_group_ = 0;
  GroupNeeded needed_;

  bool training_ = false, recompute_ = false;
  int64_t samples_ = 0, kept_ = 0;
  Slot pixels_;                 // [b R^2, 3]
  std::vector<Slot> inputs_;    // of each block and of the pool
  std::vector<Slot> d_inputs_;  // their gradients: of the stem's output and of each stage's
  ResnetScratch stem_scratch_;
};

}  // namespace contrail::model
