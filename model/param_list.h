#pragma once
// How a tower declares its parameters, and how it later finds them: in one order, by one list.

#include <string>
#include <utility>
#include <vector>

#include "model/ops/view.h"
#include "model/param.h"

namespace contrail::model {

class ParamList {
 public:
  // Names below `prefix`; groups are numbered by NextGroup().
  void SetPrefix(std::string prefix) { prefix_ = std::move(prefix); }
  int NextGroup() { return ++group_; }

  void Add(const std::string& name, std::vector<int64_t> shape, Init init);
  // A layer norm's gain 1 and bias 0.
  void AddNorm(const std::string& name, int64_t width);

  std::vector<ParamSpec>& specs() { return specs_; }

 private:
  std::string prefix_;
  int group_ = -1;
  std::vector<ParamSpec> specs_;
};

Init Normal(double deviation);
Init Uniform(double half_width);

// Weights are decayed as open_clip's published models were (its rule up to 3.3): no decay where
// ndim < 2 or the name holds "bn", "ln", "bias" or "logit_scale". Position embeddings are decayed.
bool Decays(const std::string& name, size_t dimensions);

// What products multiply with: every parameter of two dimensions or more but embeddings, which are
// only added to the residual stream (and whose table is read a row at a time).
bool IsMatrix(const std::string& name, size_t dimensions);

// Hands out bound tensors in the order of the specs. Without gradients it hands out empty views.
class ParamCursor {
 public:
  explicit ParamCursor(const BoundParams& bound) : bound_(bound) {}
  struct Pair {
    View weight, grad;
  };
  Pair Next();

 private:
  const BoundParams& bound_;
  size_t next_ = 0;
};

}  // namespace contrail::model
