#pragma once
// What torch.load(weights_only=True) reads: a zip archive with a pickle of protocol 2.

#include "model/files/new_file.h"
#include "model/files/out_tensor.h"

namespace contrail::model::files {

// With notes: {"state_dict": {name: tensor}, "contrail": notes}; without: {name: tensor}. One
// tensor is in memory at a time. Throws E-OUT-EXISTS, E-OUT-DIR, E-IO, E-EXPORT-SIZE; then leaves
// no file.
void WriteTorchArchive(FileSystem& fs, const std::string& path,
                       const std::vector<OutTensor>& tensors, const Notes& notes);

}  // namespace contrail::model::files
