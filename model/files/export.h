#pragma once
// Weights out, in the three forms other programs read (docs/weights.md). All throw E-OUT-EXISTS,
// E-OUT-DIR, E-IO, E-EXPORT-FORMAT (the form has no place for this model), and leave nothing then.

#include <string>

#include "common/file_system.h"
#include "model/files/model_weights.h"

namespace contrail::model::files {

// OUT.pt or OUT.safetensors, fp32, and OUT.json beside it: open_clip's model config, whose
// activation is the model's. Beside open_clip_model.safetensors it is open_clip_config.json in the
// form of model hubs; so is OUT.json of a model whose images are not normalised as CLIP's.
void ExportOpenClip(FileSystem& fs, ModelWeights& weights, const std::string& out);

// OUT.pt: a plain state dict with the names, number formats (fp16 where OpenAI has it) and the
// three sizes of OpenAI's own. QuickGELU only, the format knows no other.
void ExportOpenAi(FileSystem& fs, ModelWeights& weights, const std::string& out);

// model.safetensors, config.json and preprocessor_config.json into the existing folder. ViTs only.
void ExportHuggingFace(FileSystem& fs, ModelWeights& weights, const std::string& folder);
// Throws what ExportHuggingFace would, before anything is written.
void RequireHuggingFace(const ModelSpec& spec, const Inventory& inventory);

}  // namespace contrail::model::files
