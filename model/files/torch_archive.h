#pragma once
// What torch.save and torch.jit.save write: a zip archive with a pickle (data.pkl) that says which
// tensors there are, and one uncompressed entry a storage.
//
//   torch.save(state_dict)              names as they stand
//   torch.save({"state_dict": ...})     open_clip's training checkpoints
//   torch.jit.save(model)               OpenAI's files: a tree of modules, names joined by dots

#include "common/file_system.h"
#include "model/files/weight_file.h"

namespace contrail::model::files {

// Throws UserError E-WEIGHTS-DAMAGED, E-WEIGHTS-PICKLE, E-WEIGHTS-COMPRESSED, E-WEIGHTS-FILE.
WeightFile OpenTorchArchive(const FileSystem& fs, const std::string& path);

}  // namespace contrail::model::files
