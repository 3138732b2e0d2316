#pragma once
// The image tower (Dosovitskiy et al. 2021, as CLIP has it):
//
//   tokens   = [class; patches conv1^T] + positions
//   features = normalise(ln_post(transformer(ln_pre(tokens)))[class] proj)
//
// Legend: b samples, P patches an image, L = P + 1, T = b L, w width, D embed_dim.

#include "model/head.h"
#include "model/image_tower.h"
#include "model/transformer.h"

namespace contrail::model {

class VitTower final : public ImageTower {
 public:
  VitTower(const ModelSpec& spec, bool prune);

  void Declare(ParamList* list) override;
  void Bind(ParamCursor* cursor) override;
  void Plan(int64_t samples, const PlanFor& what, ArenaPlan* plan) override;
  void PlanScratch(bool training, ArenaPlan* plan) override;

  // images: uint8 [count, 3, R, R]; features [count, D].
  void Forward(const OpTable& ops, const Arena& arena, const uint8_t* images, int64_t count,
               View features, bool keep) override;
  void Backward(const OpTable& ops, const Arena& arena, View d_features,
                const GroupDone& done) override;
  void SetGroupNeeded(const GroupNeeded& needed) override;

 private:
  int64_t tokens(int64_t count) const { return count * length_; }
  Sequences Images(int64_t count) const { return {count, nullptr, length_, length_}; }

  int64_t resolution_, patch_;
  Normalisation pixels_are_;
  int64_t patches_, length_, width_;
  Transformer transformer_;
  Head head_;
  int first_group_ = 0, head_group_ = 0;
  GroupNeeded needed_;

  ParamCursor::Pair class_, positions_, conv_, pre_gain_, pre_bias_;

  int64_t samples_ = 0;
  Slot pixels_, tokens_, pre_stats_;  // [bP, 3 p^2], [T, w], [T, 2]
  Slot projected_;                    // scratch [bP, w]
  int64_t kept_ = 0;                  // samples of the last kept forward
};

}  // namespace contrail::model
