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

// Where it has layers, the image tower is a ModifiedResNet (attention heads of 64).
struct ResnetSpec {
  int64_t width = 64;
  std::vector<int64_t> layers = {};  // bottlenecks in each of four stages
  int64_t bn_group_size = 64;        // consecutive samples that share batch statistics
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
  VitSpec vit = {};
  ResnetSpec resnet = {};
  TextSpec text;
  std::string activation = "quick_gelu";  // "quick_gelu" | "gelu"
  // What it is trained with: "clip", or "siglip", which adds the parameter logit_bias and starts
  // from another logit scale.
  std::string loss = "clip";
};

const std::vector<ModelSpec>& Registry();

// Throws UserError E-MODEL-NAME with the nearest names.
const ModelSpec& FindModel(const std::string& name);

}  // namespace contrail::model
