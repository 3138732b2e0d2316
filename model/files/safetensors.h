#pragma once
// Safetensors: 8 bytes with the header's length, the header (JSON: name -> dtype, shape,
// data_offsets; "__metadata__" holds texts), the values without a gap.
// Format: https://github.com/huggingface/safetensors#format

#include "common/file_system.h"
#include "model/files/weight_file.h"

namespace contrail::model::files {

bool LooksLikeSafetensors(const FileBytes& file);

// Throws UserError E-WEIGHTS-DAMAGED.
WeightFile OpenSafetensors(const FileSystem& fs, const std::string& path);

}  // namespace contrail::model::files
