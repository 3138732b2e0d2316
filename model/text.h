#pragma once
// The text tower (Radford et al. 2021 §2.4) over packed captions: only real tokens, concatenated,
// with ragged causal attention. A caption is read at its last token (EOT); what a padded tower
// computes after it can reach nothing.
//
//   features = normalise(ln_final(transformer(token_embedding[ids] + positions))[EOT] projection)
//
// Legend: b captions, T tokens in all, w width, D embed_dim.

#include "model/clip.h"
#include "model/head.h"
#include "model/transformer.h"

namespace contrail::model {

class TextTower {
 public:
  TextTower(const ModelSpec& spec, bool prune);

  void Declare(ParamList* list);
  void Bind(ParamCursor* cursor);
  void Plan(int64_t samples, int64_t tokens, const PlanFor& what, ArenaPlan* plan);
  void PlanScratch(bool training, ArenaPlan* plan);

  // The tensors of `texts` must stay as they are until the backward.
  void Forward(const OpTable& ops, const Arena& arena, const TextBatch& texts, View features,
               bool keep);
  void Backward(const OpTable& ops, const Arena& arena, View d_features, const GroupDone& done);
  void SetGroupNeeded(const GroupNeeded& needed);

 private:
  Sequences Captions(const TextBatch& texts) const;

  TextSpec spec_;
  Transformer transformer_;
  Head head_;
  int first_group_ = 0, head_group_ = 0;
  GroupNeeded needed_;
  ParamCursor::Pair embedding_, positions_;
  bool kept_ = false;
  TextBatch texts_;  // of the last kept forward
};

}  // namespace contrail::model
