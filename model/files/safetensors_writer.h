#pragma once
// Safetensors out: see safetensors.h.

#include "model/files/new_file.h"
#include "model/files/out_tensor.h"

namespace contrail::model::files {

// One tensor is in memory at a time. `notes` go to __metadata__ as "contrail.KEY". Throws
// E-OUT-EXISTS, E-OUT-DIR, E-IO; then leaves no file.
void WriteSafetensors(FileSystem& fs, const std::string& path,
                      const std::vector<OutTensor>& tensors, const Notes& notes);

}  // namespace contrail::model::files
