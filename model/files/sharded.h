#pragma once
// A model in several files, with an index that says which tensor lies where: Hugging Face's
// model.safetensors.index.json and pytorch_model.bin.index.json.

#include <functional>
#include <string>

#include "model/files/weight_file.h"

namespace contrail::model::files {

// `index`: "weight_map" has name -> file beside it; `open` reads one of those. Throws
// E-WEIGHTS-DAMAGED, E-WEIGHTS-FILE, E-WEIGHTS-CONFIG and what `open` throws.
WeightFile OpenSharded(const FileSystem& fs, const std::string& index,
                       const std::function<WeightFile(const std::string& path)>& open);

}  // namespace contrail::model::files
