#include "model/param_list.h"

#include "common/error.h"

namespace contrail::model {

void ParamList::Add(const std::string& name, std::vector<int64_t> shape, Init init) {
  ParamSpec spec;
  spec.name = prefix_ + name;
  spec.decay = Decays(spec.name, shape.size());
  spec.matrix = IsMatrix(spec.name, shape.size());
  spec.shape = std::move(shape);
  spec.init = init;
  spec.group = group_;
  specs_.push_back(std::move(spec));
}

void ParamList::AddNorm(const std::string& name, int64_t width) {
  Add(name + ".weight", {width}, {Init::Kind::kOnes});
  Add(name + ".bias", {width}, {Init::Kind::kZeros});
}

Init Normal(double deviation) { return {Init::Kind::kNormal, deviation}; }
Init Uniform(double half_width) { return {Init::Kind::kUniform, half_width}; }

bool Decays(const std::string& name, size_t dimensions) {
  if (dimensions < 2) return false;
  for (const char* part : {"bn", "ln", "bias", "logit_scale"}) {
    if (name.find(part) != std::string::npos) return false;
  }
  return true;
}

bool IsMatrix(const std::string& name, size_t dimensions) {
  return dimensions >= 2 && name.find("embedding") == std::string::npos;
}

ParamCursor::Pair ParamCursor::Next() {
  CONTRAIL_ASSERT(next_ < bound_.weights.size());
  Pair pair;
  pair.weight = AsView(bound_.weights[next_]);
  if (!bound_.grads.empty()) pair.grad = AsView(bound_.grads[next_]);
  ++next_;
  return pair;
}

}  // namespace contrail::model
