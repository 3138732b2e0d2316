#include "model/files/export.h"

#include "common/error.h"
#include "common/token.h"
#include "model/files/configs_out.h"
#include "model/files/safetensors_writer.h"
#include "model/files/torch_writer.h"

namespace contrail::model::files {
namespace {

bool HasLogitBias(const Inventory& inventory) {
  for (const NamedShape& param : inventory.params) {
    if (param.name == "logit_bias") return true;
  }
  return false;
}

Error NoPlace(const std::string& format, const std::string& what) {
  return UserError("E-EXPORT-FORMAT", "--format " + format, what, "export with --format open_clip");
}

// What OpenAI's convert_weights turns to fp16: convolutions, linear layers, attention, projections.
bool IsHalfAtOpenAi(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  return name == "text_projection" || name == "visual.proj" || has(".attn.") || has(".mlp.") ||
         has("_proj.") || has("downsample.0.") || (has("conv") && name.ends_with(".weight"));
}

void AddSize(const std::string& name, int64_t value, std::vector<OutTensor>* tensors) {
  tensors->push_back({name, ElementType::kInt64, {}, [value] {
                        return std::vector<float>{static_cast<float>(value)};
                      }});
}

}  // namespace

void ExportOpenClip(FileSystem& fs, ModelWeights& weights, const std::string& out) {
  const bool safetensors = out.ends_with(".safetensors");
  if (!safetensors && !out.ends_with(".pt")) {
    throw UserError("E-EXPORT-FORMAT", out, "ends in neither .pt nor .safetensors",
                    "the ending chooses the form");
  }
  // Of a folder as a model hub has it; else a config of the weights' own name.
  const size_t begin = out.rfind('/') + 1;
  const bool in_hub = out.substr(begin) == "open_clip_model.safetensors";
  const std::string config = in_hub ? out.substr(0, begin) + "open_clip_config.json"
                                    : out.substr(0, out.rfind('.')) + ".json";
  RequireNew(fs, out);
  RequireNew(fs, config);
  const std::vector<OutTensor> tensors = OutTensors(weights, Naming::kOpenClip);
  const Notes notes = NotesOf(weights.spec());
  // The config first: weights without it would be taken for the wrong activation.
  fs.WriteAtomically(config,
                     OpenClipConfigJson(weights.spec(), HasLogitBias(weights.inventory()),
                                        in_hub || weights.spec().mean_std != "clip"),
                     ".tmp-" + RandomToken());
  try {
    safetensors ? WriteSafetensors(fs, out, tensors, notes)
                : WriteTorchArchive(fs, out, tensors, notes);
  } catch (...) {
    fs.RemoveFile(config);
    throw;
  }
}

void ExportOpenAi(FileSystem& fs, ModelWeights& weights, const std::string& out) {
  const ModelSpec& spec = weights.spec();
  if (spec.activation != "quick_gelu") {
    throw NoPlace("openai",
                  "its models are QuickGELU ones, this one was trained with " + spec.activation);
  }
  if (HasLogitBias(weights.inventory())) throw NoPlace("openai", "it has no place for logit_bias");
  if (spec.mean_std != "clip") {
    throw NoPlace("openai",
                  "its images are normalised as CLIP's, this model's as \"" + spec.mean_std + "\"");
  }
  std::vector<OutTensor> tensors;
  AddSize("input_resolution", spec.resolution, &tensors);
  AddSize("context_length", spec.text.context, &tensors);
  AddSize("vocab_size", spec.text.vocab, &tensors);
  for (OutTensor& tensor : OutTensors(weights, Naming::kOpenClip)) {
    if (tensor.type == ElementType::kFloat32 && IsHalfAtOpenAi(tensor.name)) {
      tensor.type = ElementType::kFloat16;
    }
    tensors.push_back(std::move(tensor));
  }
  WriteTorchArchive(fs, out, tensors, {});
}

void RequireHuggingFace(const ModelSpec& spec, const Inventory& inventory) {
  if (!spec.resnet.layers.empty()) {
    throw NoPlace("hf", "its CLIPModel knows vision transformers only, this is " + spec.name);
  }
  if (HasLogitBias(inventory)) throw NoPlace("hf", "its CLIPModel has no place for logit_bias");
}

void ExportHuggingFace(FileSystem& fs, ModelWeights& weights, const std::string& folder) {
  RequireHuggingFace(weights.spec(), weights.inventory());
  fs.WriteAtomically(folder + "/config.json", HuggingFaceConfigJson(weights.spec()));
  fs.WriteAtomically(folder + "/preprocessor_config.json",
                     HuggingFacePreprocessorJson(weights.spec()));
  WriteSafetensors(fs, folder + "/model.safetensors", OutTensors(weights, Naming::kHuggingFace),
                   NotesOf(weights.spec()));
}

}  // namespace contrail::model::files
