#pragma once
// What ClipModel asks of an image tower: one implementation a family of models.
//
// Legend: b samples, R resolution, D embed_dim.

#include "model/arena.h"
#include "model/clip.h"
#include "model/ops/op_table.h"
#include "model/param_list.h"

namespace contrail::model {

class ImageTower {
 public:
  virtual ~ImageTower() = default;

  virtual void Declare(ParamList* list) = 0;
  virtual void Bind(ParamCursor* cursor) = 0;
  virtual void Plan(int64_t samples, const PlanFor& what, ArenaPlan* plan) = 0;
  virtual void PlanScratch(bool training, ArenaPlan* plan) = 0;

  // images: uint8 [count, 3, R, R]; features [count, D].
  virtual void Forward(const OpTable& ops, const Arena& arena, const uint8_t* images, int64_t count,
                       View features, bool keep) = 0;
  virtual void Backward(const OpTable& ops, const Arena& arena, View d_features,
                        const GroupDone& done) = 0;

  virtual void SetGroupNeeded(const GroupNeeded& needed) = 0;

  // Towers with running statistics only.
  virtual std::vector<BufferSpec> Buffers() const { return {}; }
  virtual void BindBuffers(const std::vector<at::Tensor>& /*buffers*/) {}
  virtual void FoldStatistics(const OpTable& /*ops*/) {}
  virtual void DropStatistics() {}
};

}  // namespace contrail::model
