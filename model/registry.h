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
  bool operator==(const VitSpec&) const = default;
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
  bool operator==(const TextSpec&) const = default;
};

struct ModelSpec {
  std::string name;  // "ViT-B/32"
  int64_t embed_dim = 512;
  int64_t resolution = 224;
  VitSpec vit = {};
  ResnetSpec resnet = {};
  TextSpec text;
  std::string activation = "quick_gelu";  // "quick_gelu" | "gelu"
  std::string mean_std = "clip";          // of images: "clip" | "half" (normalisation.h)
  // What it is trained with: "clip", or "siglip", which adds the parameter logit_bias and starts
  // from another logit scale.
  std::string loss = "clip";
};

const std::vector<ModelSpec>& Registry();

// Pixels to a side of what the image tower attends to at its end: a patch, or a ResNet's stride of
// 32. A model's resolution is a multiple of it.
int64_t PixelsToACell(const ModelSpec& spec);
// And at most this: a few lines of a convolution's input lie in a thread's scratch, and attention
// pools all cells of an image at once.
inline constexpr int64_t kLargestResolution = 2048;
const char* CellName(const ModelSpec& spec);  // "the patch size" | "a ResNet's total stride"

// Whether the two have the same parameters and function up to the resolution: ViT-L/14 and
// ViT-L/14@336 do.
bool SameUpToResolution(const ModelSpec& a, const ModelSpec& b);

// Throws UserError E-MODEL-NAME with the nearest names.
const ModelSpec& FindModel(const std::string& name);

}  // namespace contrail::model
