#pragma once
// What a file of weights, or a config beside it, says about the function: shapes do not show the
// activation, the number of heads or the normalisation of images.
//
//   our own exports     notes inside the file ("contrail.activation")
//   OpenAI's archives   QuickGELU, always
//   open_clip           open_clip_config.json, or NAME.json beside NAME.safetensors
//   Hugging Face        config.json and preprocessor_config.json

#include <cstdint>
#include <optional>
#include <string>

#include "common/file_system.h"
#include "model/files/names.h"
#include "model/files/weight_file.h"
#include "model/registry.h"

namespace contrail::model::files {

struct Declared {
  std::optional<std::string> model;       // registry name
  std::optional<std::string> activation;  // "quick_gelu" | "gelu"
  std::string activation_from;            // who says so
  std::optional<std::string> mean_std;    // normalisation of images: "clip" | "half"
  std::string mean_std_from;
  std::optional<int64_t> resolution;
  std::optional<int64_t> image_heads, text_heads;
  std::string where;  // the config read, "" = none
};

// Throws UserError E-WEIGHTS-CONFIG where a config cannot be read or asks for something the models
// do not do, E-WEIGHTS-ACTIVATION where it contradicts itself. Warns (W-WEIGHTS-PIXELS) where its
// images were brought to size in another way than here.
Declared ReadDeclared(const FileSystem& fs, const WeightFile& file, Naming naming);

// Throws UserError E-WEIGHTS-CONFIG where the config's heads are not the model's.
void CheckHeads(const Declared& declared, const ModelSpec& spec);

}  // namespace contrail::model::files
