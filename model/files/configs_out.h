#pragma once
// The JSON that stands beside exported weights.

#include <string>

#include "model/registry.h"

namespace contrail::model::files {

// open_clip's model config, as in its model_configs/ (quick_gelu included). `logit_bias`: the model
// has one.
std::string OpenClipConfigJson(const ModelSpec& spec, bool logit_bias);
// transformers' config.json and preprocessor_config.json of a CLIPModel. ViTs only.
std::string HuggingFaceConfigJson(const ModelSpec& spec);
std::string HuggingFacePreprocessorJson(const ModelSpec& spec);

}  // namespace contrail::model::files
