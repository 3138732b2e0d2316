#include "model/files/declared.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/escape.h"
#include "common/log.h"
#include "common/strings.h"
#include "model/files/strict_json.h"
#include "model/normalisation.h"

namespace contrail::model::files {
namespace {

using Json = nlohmann::json;

constexpr const char* kConfig = "E-WEIGHTS-CONFIG";

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json ReadJson(const FileSystem& fs, const std::string& path) {
  const FileBytes bytes(fs, path);
  constexpr uint64_t kMostBytes = 16 << 20;
  Json json =
      ParseStrictJson(bytes.Text(0, std::min(bytes.size(), kMostBytes), path), kConfig, path);
  if (!json.is_object()) throw UserError(kConfig, path, "is no JSON object");
  return json;
}

// A member that must be of a type where it is there and not null.
template <typename T>
std::optional<T> Get(const Json& object, const std::string& key, const std::string& where) {
  if (!object.contains(key) || object[key].is_null()) return std::nullopt;
  const Json& value = object[key];
  bool right = false;
  if constexpr (std::is_same_v<T, std::string>) right = value.is_string();
  if constexpr (std::is_same_v<T, bool>) right = value.is_boolean();
  if constexpr (std::is_same_v<T, int64_t>) right = value.is_number_integer();
  if constexpr (std::is_same_v<T, double>) right = value.is_number();
  if constexpr (std::is_same_v<T, Json>) right = value.is_object();
  if (!right) throw UserError(kConfig, where, "'" + key + "' is of the wrong type");
  return value.get<T>();
}

// Three numbers, or one for all channels; `fallback` where there are none.
std::array<double, 3> ReadChannels(const Json& config, const std::string& key,
                                   const std::array<double, 3>& fallback,
                                   const std::string& where) {
  if (!config.contains(key) || config[key].is_null()) return fallback;
  const Json& value = config[key];
  std::array<double, 3> channels{};
  bool right = value.is_number() || (value.is_array() && value.size() == channels.size());
  for (size_t c = 0; right && c < channels.size(); ++c) {
    const Json& one = value.is_array() ? value[c] : value;
    right = one.is_number();
    if (right) channels[c] = one.get<double>();
  }
  if (!right) throw UserError(kConfig, where, "'" + key + "' is not three numbers");
  return channels;
}

// What is not said is CLIP's, as open_clip and transformers have it.
void ReadNormalisation(const Json& config, const std::string& mean_key, const std::string& std_key,
                       const std::string& where, Declared* declared) {
  const Normalisation& clip = NormalisationNamed("clip");
  const Normalisation numbers = {ReadChannels(config, mean_key, clip.mean, where),
                                 ReadChannels(config, std_key, clip.std, where)};
  declared->mean_std = NameOfNormalisation(numbers);
  declared->mean_std_from = where;
  if (declared->mean_std) return;
  throw UserError(kConfig, where,
                  mean_key + " and " + std_key + " are neither CLIP's nor 0.5 and 0.5",
                  "only models whose images are normalised so can be used");
}

// Images that were brought to size in another way look a little different: features are then not
// quite those of whoever trained the model.
void WarnOfPixels(const std::vector<std::string>& other, const std::string& where) {
  if (other.empty()) return;
  LogWarning("W-WEIGHTS-PIXELS: " + where + ": its images were made with " + Join(other, ", ") +
             "; here the shortest edge is resized (bicubic) and the middle taken, so features "
             "differ a little");
}

bool SaysNothing(const Json& value) {
  return value.is_null() || value.empty() || value == false || value == 0 || value == 0.0 ||
         value == "";
}

// Members other than `known` must say nothing, or what is done anyway (`usual`): they would change
// the function unseen.
void RefuseOthers(const Json& config, const std::vector<std::string>& known, const Json& usual,
                  const std::string& prefix, const std::string& where) {
  for (const auto& [key, value] : config.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end() || SaysNothing(value)) continue;
    if (usual.contains(key) && usual[key] == value) continue;
    throw UserError(kConfig, where,
                    prefix + EscapeShort(key) + " = " + EscapeShort(Dump(value)) +
                        " is nothing that these models do");
  }
}

// How open_clip makes an image of this config (transform.py, PreprocessCfg).
void ReadPreprocess(const Json& config, const std::string& where, Declared* declared) {
  ReadNormalisation(config, "mean", "std", where, declared);
  std::vector<std::string> other;
  for (const auto& [key, ours] :
       {std::pair{"resize_mode", "shortest"}, {"interpolation", "bicubic"}}) {
    const std::string theirs = Get<std::string>(config, key, where).value_or(ours);
    if (theirs != ours) other.push_back(std::string(key) + " " + EscapeShort(theirs));
  }
  WarnOfPixels(other, where);
}

void ReadOpenClip(const Json& json, const std::string& where, Declared* declared) {
  // The form of model hubs has the model's config inside.
  const Json config = Get<Json>(json, "model_cfg", where).value_or(json);
  if (const auto preprocess = Get<Json>(json, "preprocess_cfg", where)) {
    ReadPreprocess(*preprocess, where, declared);
  }
  RefuseOthers(config,
               {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "preprocess_cfg",
                "init_logit_scale", "init_logit_bias"},
               Json::object(), "", where);
  const Json vision = Get<Json>(config, "vision_cfg", where).value_or(Json::object());
  const Json text = Get<Json>(config, "text_cfg", where).value_or(Json::object());
  RefuseOthers(vision,
               {"image_size", "layers", "width", "patch_size", "head_width", "patch_dropout"},
               {{"mlp_ratio", 4.0}, {"pool_type", "tok"}, {"pos_embed_type", "learnable"}},
               "vision_cfg.", where);
  RefuseOthers(text, {"context_length", "vocab_size", "width", "heads", "layers"},
               {{"mlp_ratio", 4.0}, {"pool_type", "argmax"}, {"proj_type", "linear"}}, "text_cfg.",
               where);
  declared->activation =
      Get<bool>(config, "quick_gelu", where).value_or(false) ? "quick_gelu" : "gelu";
  declared->activation_from = where;
  declared->resolution = Get<int64_t>(vision, "image_size", where);
  declared->text_heads = Get<int64_t>(text, "heads", where);
  if (const auto width = Get<int64_t>(vision, "head_width", where); width && *width > 0) {
    const auto model = Get<int64_t>(vision, "width", where);
    if (model) declared->image_heads = *model / *width;
  }
}

// A tower's config as transformers has it (configuration_clip.py): "NAME_dict" is a whole config of
// old files, so that what it does not say is the default and wins over "NAME". Of what weights
// themselves show (heads, sizes) a default that differs would not load there; it is passed over.
Json HuggingFaceTower(const Json& config, const std::string& name, const std::string& where) {
  Json tower = Get<Json>(config, name, where).value_or(Json::object());
  if (const auto old = Get<Json>(config, name + "_dict", where)) {
    for (const char* key : {"hidden_act", "layer_norm_eps"}) tower.erase(key);
    tower.update(*old);
  }
  return tower;
}

std::string HuggingFaceActivation(const Json& tower, const std::string& where) {
  const std::string name = Get<std::string>(tower, "hidden_act", where).value_or("quick_gelu");
  if (name == "quick_gelu" || name == "gelu") return name;
  throw UserError(kConfig, where,
                  "hidden_act '" + EscapeShort(name) + "' is none of quick_gelu, gelu");
}

void ReadHuggingFace(const Json& config, const std::string& where, Declared* declared) {
  const auto type = Get<std::string>(config, "model_type", where);
  if (type && *type != "clip") {
    throw UserError(kConfig, where,
                    "is the config of a '" + EscapeShort(*type) + "', not of a 'clip'");
  }
  const Json vision = HuggingFaceTower(config, "vision_config", where);
  const Json text = HuggingFaceTower(config, "text_config", where);
  for (const Json* tower : {&vision, &text}) {
    const double eps = Get<double>(*tower, "layer_norm_eps", where).value_or(1e-5);
    if (std::abs(eps - 1e-5) > 1e-9) throw UserError(kConfig, where, "layer_norm_eps is not 1e-5");
  }
  const std::string image = HuggingFaceActivation(vision, where);
  if (image != HuggingFaceActivation(text, where)) {
    throw UserError("E-WEIGHTS-ACTIVATION", where,
                    "its two towers have different activations, which no model here has");
  }
  declared->activation = image;
  declared->activation_from = where;
  declared->resolution = Get<int64_t>(vision, "image_size", where);
  declared->image_heads = Get<int64_t>(vision, "num_attention_heads", where);
  declared->text_heads = Get<int64_t>(text, "num_attention_heads", where);
}

// transformers' image processor of a CLIPModel.
void ReadProcessor(const Json& config, const std::string& where, Declared* declared) {
  ReadNormalisation(config, "image_mean", "image_std", where, declared);
  constexpr int64_t kBicubic = 3;
  constexpr double kRescale = 1.0 / 255;
  std::vector<std::string> other;
  for (const char* key : {"do_resize", "do_center_crop", "do_rescale", "do_normalize"}) {
    if (!Get<bool>(config, key, where).value_or(true)) other.push_back(std::string("no ") + key);
  }
  if (Get<int64_t>(config, "resample", where).value_or(kBicubic) != kBicubic) {
    other.push_back("resample " + Dump(config["resample"]));
  }
  if (std::abs(Get<double>(config, "rescale_factor", where).value_or(kRescale) - kRescale) > 1e-6) {
    other.push_back("rescale_factor " + Dump(config["rescale_factor"]));
  }
  if (config.contains("size") && config["size"].is_object() &&
      !config["size"].contains("shortest_edge")) {
    other.push_back("size " + EscapeShort(Dump(config["size"])));
  }
  WarnOfPixels(other, where);
}

// NAME.json beside NAME.safetensors where it is a model's, or the name that model hubs use.
std::optional<std::string> OpenClipConfig(const FileSystem& fs, const std::string& path) {
  const std::string dir = path.substr(0, path.rfind('/') + 1);
  const size_t dot = path.rfind('.');
  const std::string stem =
      dot == std::string::npos || dot < dir.size() ? path : path.substr(0, dot);
  const std::string own = stem + ".json", usual = dir + "open_clip_config.json";
  if (fs.Exists(own)) {
    const Json json = ReadJson(fs, own);
    if (json.contains("embed_dim") || json.contains("model_cfg")) return own;
  }
  return fs.Exists(usual) ? std::optional(usual) : std::nullopt;
}

bool IsOpenAi(const WeightFile& file) {
  if (file.format == WeightFile::Format::kTorchScript) return true;
  for (const StoredTensor& tensor : file.tensors) {
    if (tensor.name == "input_resolution") return true;
  }
  return false;
}

void ReadNotes(const WeightFile& file, Declared* declared) {
  const auto note = [&](const char* key) -> std::optional<std::string> {
    const auto found = file.metadata.find(std::string("contrail.") + key);
    return found == file.metadata.end() ? std::nullopt : std::optional(found->second);
  };
  declared->model = note("model");
  if (const auto mean_std = note("mean_std")) {
    if (declared->mean_std && *declared->mean_std != *mean_std) {
      throw UserError(kConfig, file.path,
                      "was trained with images normalised as \"" + EscapeShort(*mean_std) +
                          "\", but " + declared->mean_std_from + " says \"" + *declared->mean_std +
                          "\"",
                      "correct or remove that file");
    }
    declared->mean_std = mean_std;
    declared->mean_std_from = "a note in the file";
  }
  const auto activation = note("activation");
  if (!activation) return;
  if (*activation != "quick_gelu" && *activation != "gelu") {
    throw UserError(kConfig, file.path,
                    "notes an unknown activation '" + EscapeShort(*activation) + "'");
  }
  if (declared->activation && *declared->activation != *activation) {
    throw UserError("E-WEIGHTS-ACTIVATION", file.path,
                    "was trained with " + *activation + ", but " + declared->activation_from +
                        " says " + *declared->activation,
                    "correct or remove that file");
  }
  if (declared->activation) return;
  declared->activation = activation;
  declared->activation_from = "a note in the file";
}

}  // namespace

Declared ReadDeclared(const FileSystem& fs, const WeightFile& file, Naming naming) {
  Declared declared;
  if (naming == Naming::kHuggingFace) {
    const std::string dir = file.path.substr(0, file.path.rfind('/') + 1);
    const std::string config = dir + "config.json", preprocess = dir + "preprocessor_config.json";
    if (fs.Exists(config)) {
      declared.where = config;
      ReadHuggingFace(ReadJson(fs, config), config, &declared);
    }
    if (fs.Exists(preprocess)) {
      ReadProcessor(ReadJson(fs, preprocess), preprocess, &declared);
    }
  } else if (IsOpenAi(file)) {
    declared.activation = "quick_gelu";
    declared.activation_from = declared.mean_std_from = "OpenAI's format";
    declared.mean_std = "clip";
  } else if (const auto config = OpenClipConfig(fs, file.path)) {
    declared.where = *config;
    ReadOpenClip(ReadJson(fs, *config), *config, &declared);
  }
  ReadNotes(file, &declared);
  return declared;
}

void CheckHeads(const Declared& declared, const ModelSpec& spec) {
  const auto check = [&](const char* tower, std::optional<int64_t> heads, int64_t ours) {
    if (!heads || *heads == ours) return;
    throw UserError(kConfig, declared.where,
                    std::string("its ") + tower + " tower has " + std::to_string(*heads) +
                        " heads where " + spec.name + " has " + std::to_string(ours));
  };
  if (spec.resnet.layers.empty()) check("image", declared.image_heads, spec.vit.heads);
  check("text", declared.text_heads, spec.text.heads);
}

}  // namespace contrail::model::files
