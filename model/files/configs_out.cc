#include "model/files/configs_out.h"

#include <nlohmann/json.hpp>

#include "model/normalisation.h"

namespace contrail::model::files {
namespace {

using Json = nlohmann::ordered_json;

std::string Text(const Json& json) { return json.dump(2) + "\n"; }

Json HuggingFaceTower(const ModelSpec& spec, int64_t width, int64_t layers, int64_t heads) {
  return {{"hidden_size", width},
          {"intermediate_size", 4 * width},
          {"num_hidden_layers", layers},
          {"num_attention_heads", heads},
          {"hidden_act", spec.activation},  // "gelu" is the exact one there too
          {"layer_norm_eps", 1e-5},
          {"attention_dropout", 0.0},
          {"projection_dim", spec.embed_dim}};
}

}  // namespace

std::string OpenClipConfigJson(const ModelSpec& spec, bool logit_bias, bool hub) {
  const bool vit = spec.resnet.layers.empty();
  Json json;
  json["embed_dim"] = spec.embed_dim;
  json["quick_gelu"] = spec.activation == "quick_gelu";
  if (logit_bias) json["init_logit_bias"] = 0;  // that there is one; its value is in the weights
  Json& vision = json["vision_cfg"];
  vision["image_size"] = spec.resolution;
  if (vit) {
    vision["layers"] = spec.vit.layers;
    vision["width"] = spec.vit.width;
    vision["head_width"] = spec.vit.width / spec.vit.heads;
    vision["patch_size"] = spec.vit.patch;
  } else {
    vision["layers"] = spec.resnet.layers;
    vision["width"] = spec.resnet.width;
    vision["patch_size"] = nullptr;
  }
  json["text_cfg"] = {{"context_length", spec.text.context},
                      {"vocab_size", spec.text.vocab},
                      {"width", spec.text.width},
                      {"heads", spec.text.heads},
                      {"layers", spec.text.layers}};
  if (!hub) return Text(json);
  const Normalisation& pixels = NormalisationNamed(spec.mean_std);
  return Text({{"model_cfg", json},
               {"preprocess_cfg",
                {{"size", {spec.resolution, spec.resolution}},
                 {"mode", "RGB"},
                 {"mean", pixels.mean},
                 {"std", pixels.std},
                 {"interpolation", "bicubic"},
                 {"resize_mode", "shortest"},
                 {"fill_color", 0}}}});
}

std::string HuggingFaceConfigJson(const ModelSpec& spec) {
  constexpr int kStartOfText = 49406, kEndOfText = 49407;
  Json text = HuggingFaceTower(spec, spec.text.width, spec.text.layers, spec.text.heads);
  text["model_type"] = "clip_text_model";
  text["vocab_size"] = spec.text.vocab;
  text["max_position_embeddings"] = spec.text.context;
  text["bos_token_id"] = kStartOfText;
  text["eos_token_id"] = kEndOfText;  // where the features are taken
  text["pad_token_id"] = kEndOfText;
  Json vision = HuggingFaceTower(spec, spec.vit.width, spec.vit.layers, spec.vit.heads);
  vision["model_type"] = "clip_vision_model";
  vision["image_size"] = spec.resolution;
  vision["patch_size"] = spec.vit.patch;
  vision["num_channels"] = 3;
  return Text({{"architectures", {"CLIPModel"}},
               {"model_type", "clip"},
               {"projection_dim", spec.embed_dim},
               {"logit_scale_init_value", 2.6592},
               {"torch_dtype", "float32"},
               {"text_config", text},
               {"vision_config", vision}});
}

std::string HuggingFacePreprocessorJson(const ModelSpec& spec) {
  const int64_t r = spec.resolution;
  const Normalisation& pixels = NormalisationNamed(spec.mean_std);
  constexpr int kBicubic = 3;
  return Text({{"image_processor_type", "CLIPImageProcessor"},
               {"do_convert_rgb", true},
               {"do_resize", true},
               {"size", {{"shortest_edge", r}}},
               {"resample", kBicubic},
               {"do_center_crop", true},
               {"crop_size", {{"height", r}, {"width", r}}},
               {"do_rescale", true},
               {"rescale_factor", 1.0 / 255.0},
               {"do_normalize", true},
               {"image_mean", pixels.mean},
               {"image_std", pixels.std}});
}

}  // namespace contrail::model::files
