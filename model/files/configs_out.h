#pragma once
// The JSON that stands beside exported weights.

#include <string>

#include "model/registry.h"

namespace contrail::model::files {

// open_clip's model config, as in its model_configs/ (quick_gelu included). `logit_bias`: the model
// has one. `hub`: as in open_clip_config.json of a model hub, which alone has a place for the
// normalisation of images.
std::string OpenClipConfigJson(const ModelSpec& spec, bool logit_bias, bool hub);
// transformers' config.json and preprocessor_config.json of a CLIPModel. ViTs only.
std::string HuggingFaceConfigJson(const ModelSpec& spec);
std::string HuggingFacePreprocessorJson(const ModelSpec& spec);

}  // namespace contrail::model::files
