#include "model/registry.h"

#include "common/error.h"
#include "common/strings.h"

namespace contrail::model {
namespace {

// Radford et al. 2021, Tables 19-20, except the small ones: "tiny-vit" for 28 x 28 images on two
// CPU cores, "tiny-rn" for tests, "nano-vit" for jobs of a hundred ranks on one machine.
std::vector<ModelSpec> MakeRegistry() {
  //                                 patch width layers heads      width layers heads
  return {
      {.name = "tiny-vit",
       .embed_dim = 128,
       .resolution = 28,
       .vit = {7, 128, 4, 2},
       .text = {.width = 128, .layers = 2, .heads = 2}},
      {.name = "ViT-B/32",
       .embed_dim = 512,
       .resolution = 224,
       .vit = {32, 768, 12, 12},
       .text = {.width = 512, .layers = 12, .heads = 8}},
      {.name = "ViT-B/16",
       .embed_dim = 512,
       .resolution = 224,
       .vit = {16, 768, 12, 12},
       .text = {.width = 512, .layers = 12, .heads = 8}},
      {.name = "ViT-L/14",
       .embed_dim = 768,
       .resolution = 224,
       .vit = {14, 1024, 24, 16},
       .text = {.width = 768, .layers = 12, .heads = 12}},
      {.name = "ViT-L/14@336",
       .embed_dim = 768,
       .resolution = 336,
       .vit = {14, 1024, 24, 16},
       .text = {.width = 768, .layers = 12, .heads = 12}},
      {.name = "tiny-rn",
       .embed_dim = 64,
       .resolution = 32,
       .resnet = {.width = 16, .layers = {1, 1, 1, 1}},
       .text = {.width = 64, .layers = 2, .heads = 1}},
      {.name = "nano-vit",
       .embed_dim = 32,
       .resolution = 28,
       .vit = {14, 32, 1, 1},
       .text = {.width = 32, .layers = 1, .heads = 1}},
      {.name = "RN50",
       .embed_dim = 1024,
       .resolution = 224,
       .resnet = {.width = 64, .layers = {3, 4, 6, 3}},
       .text = {.width = 512, .layers = 12, .heads = 8}},
      {.name = "RN101",
       .embed_dim = 512,
       .resolution = 224,
       .resnet = {.width = 64, .layers = {3, 4, 23, 3}},
       .text = {.width = 512, .layers = 12, .heads = 8}},
      {.name = "RN50x4",
       .embed_dim = 640,
       .resolution = 288,
       .resnet = {.width = 80, .layers = {4, 6, 10, 6}},
       .text = {.width = 640, .layers = 12, .heads = 10}},
      {.name = "RN50x16",
       .embed_dim = 768,
       .resolution = 384,
       .resnet = {.width = 96, .layers = {6, 8, 18, 8}},
       .text = {.width = 768, .layers = 12, .heads = 12}},
      {.name = "RN50x64",
       .embed_dim = 1024,
       .resolution = 448,
       .resnet = {.width = 128, .layers = {3, 15, 36, 10}},
       .text = {.width = 1024, .layers = 12, .heads = 16}},
  };
}

}  // namespace

const std::vector<ModelSpec>& Registry() {
  static const std::vector<ModelSpec> registry = MakeRegistry();
  return registry;
}

int64_t PixelsToACell(const ModelSpec& spec) {
  return spec.resnet.layers.empty() ? spec.vit.patch : 32;
}

const char* CellName(const ModelSpec& spec) {
  return spec.resnet.layers.empty() ? "the patch size" : "a ResNet's total stride";
}

bool SameUpToResolution(const ModelSpec& a, const ModelSpec& b) {
  return a.embed_dim == b.embed_dim && a.resnet.width == b.resnet.width &&
         a.resnet.layers == b.resnet.layers && (!a.resnet.layers.empty() || a.vit == b.vit) &&
         a.text == b.text && a.activation == b.activation;
}

const ModelSpec& FindModel(const std::string& name) {
  std::vector<std::string> names;
  for (const ModelSpec& spec : Registry()) {
    if (spec.name == name) return spec;
    names.push_back(spec.name);
  }
  const std::string hint = DidYouMean(name, names);
  throw UserError("E-MODEL-NAME", "model.name", "no model is called '" + name + "'",
                  (hint.empty() ? "" : hint + " ") + "There are: " + Join(names, ", "));
}

}  // namespace contrail::model
