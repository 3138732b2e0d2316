#include "model/files/declared.h"

#include <cmath>
#include <vector>

#include "model/files/strict_json.h"

namespace contrail::model::files {
namespace {

using Json = nlohmann::json;

constexpr const char* kConfig = "E-WEIGHTS-CONFIG";

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

// CLIP's normalisation is the only one that the image tower does.
void CheckNormalisation(const Json& config, const std::string& mean_key, const std::string& std_key,
                        const std::string& where) {
  const auto check = [&](const std::string& key, const std::vector<double>& clip) {
    if (!config.contains(key) || config[key].is_null()) return;
    bool same = config[key].is_array() && config[key].size() == clip.size();
    for (size_t i = 0; same && i < clip.size(); ++i) {
      same = config[key][i].is_number() && std::abs(config[key][i].get<double>() - clip[i]) < 1e-4;
    }
    if (!same) {
      throw UserError(kConfig, where, key + " is " + config[key].dump() + ", not CLIP's",
                      "only models whose images are normalised as CLIP's can be used");
    }
  };
  check(mean_key, {0.48145466, 0.4578275, 0.40821073});
  check(std_key, {0.26862954, 0.26130258, 0.27577711});
}

bool SaysNothing(const Json& value) {
  return value.is_null() || value.empty() || value == false || value == 0 || value == 0.0 ||
         value == "";
}

// Members other than `known` must say nothing: they would change the function unseen.
void RefuseOthers(const Json& config, const std::vector<std::string>& known,
                  const std::string& prefix, const std::string& where) {
  for (const auto& [key, value] : config.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end() || SaysNothing(value)) continue;
    throw UserError(kConfig, where,
                    prefix + key + " = " + value.dump() + " is nothing that these models do");
  }
}

void ReadOpenClip(const Json& json, const std::string& where, Declared* declared) {
  // The form of model hubs has the model's config inside.
  const Json config = Get<Json>(json, "model_cfg", where).value_or(json);
  const Json preprocess = Get<Json>(json, "preprocess_cfg", where).value_or(Json::object());
  CheckNormalisation(preprocess, "mean", "std", where);
  RefuseOthers(
      config,
      {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "init_logit_scale", "init_logit_bias"},
      "", where);
  const Json vision = Get<Json>(config, "vision_cfg", where).value_or(Json::object());
  const Json text = Get<Json>(config, "text_cfg", where).value_or(Json::object());
  RefuseOthers(vision,
               {"image_size", "layers", "width", "patch_size", "head_width", "patch_dropout"},
               "vision_cfg.", where);
  RefuseOthers(text, {"context_length", "vocab_size", "width", "heads", "layers"}, "text_cfg.",
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

std::string HuggingFaceActivation(const Json& tower, const std::string& where) {
  const std::string name = Get<std::string>(tower, "hidden_act", where).value_or("quick_gelu");
  if (name == "quick_gelu" || name == "gelu") return name;
  throw UserError(kConfig, where, "hidden_act '" + name + "' is none of quick_gelu, gelu");
}

void ReadHuggingFace(const Json& config, const std::string& where, Declared* declared) {
  const auto type = Get<std::string>(config, "model_type", where);
  if (type && *type != "clip") {
    throw UserError(kConfig, where, "is the config of a '" + *type + "', not of a 'clip'");
  }
  const Json vision = Get<Json>(config, "vision_config", where).value_or(Json::object());
  const Json text = Get<Json>(config, "text_config", where).value_or(Json::object());
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
  const auto activation = note("activation");
  if (!activation) return;
  if (*activation != "quick_gelu" && *activation != "gelu") {
    throw UserError(kConfig, file.path, "notes an unknown activation '" + *activation + "'");
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
      CheckNormalisation(ReadJson(fs, preprocess), "image_mean", "image_std", preprocess);
    }
  } else if (IsOpenAi(file)) {
    declared.activation = "quick_gelu";
    declared.activation_from = "OpenAI's format";
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
