#pragma once
// The model zoo as a table: one line a model.

#include <cstdint>
#include <string>
#include <vector>

namespace contrail::model {

struct VitSpec {
  int64_t patch = 32;
  int64_t width = 768;
  int64_t layers = 12;
  int64_t heads = 12;
};

struct TextSpec {
  int64_t width = 512;
  int64_t layers = 12;
  int64_t heads = 8;
  int64_t context = 77;
  int64_t vocab = 49408;
};

struct ModelSpec {
  std::string name;  // "ViT-B/32"
  int64_t embed_dim = 512;
  int64_t resolution = 224;
  VitSpec vit;
  TextSpec text;
  std::string activation = "quick_gelu";  // "quick_gelu" | "gelu"
};

const std::vector<ModelSpec>& Registry();

// Throws UserError E-MODEL-NAME with the nearest names.
const ModelSpec& FindModel(const std::string& name);

}  // namespace contrail::model
