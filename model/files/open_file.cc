#include "model/files/open_file.h"

#include <algorithm>

#include "model/files/safetensors.h"
#include "model/files/sharded.h"
#include "model/files/torch_archive.h"
#include "model/files/zip.h"

namespace contrail::model::files {
namespace {

constexpr const char* kIndexSuffix = ".index.json";

Error Foreign(const FileBytes& file) {
  const std::string head = file.Text(0, std::min<uint64_t>(file.size(), 24), "itself");
  std::string what = "is no safetensors file and no archive of torch.save";
  if (file.size() == 0) what = "is empty";
  if (head.starts_with("version https://git-lfs")) {
    what = "is a pointer of Git LFS, not the file itself";
  } else if (head.starts_with("\x80\x02\x8a")) {
    what = "is of torch before 1.6: load and save it again with a newer one";
  } else if (head.starts_with("\x89HDF")) {
    what = "is an HDF5 file";
  }
  return UserError("E-WEIGHTS-FILE", file.path(), what,
                   "give a .safetensors or .pt file, or the folder of a Hugging Face model");
}

WeightFile OpenOne(const FileSystem& fs, const std::string& path) {
  const FileBytes bytes(fs, path);
  if (LooksLikeZip(bytes)) return OpenTorchArchive(fs, path);
  if (LooksLikeSafetensors(bytes)) return OpenSafetensors(fs, path);
  throw Foreign(bytes);
}

// Takes away what wrappers around a model put into its names: "module." of DistributedDataParallel
// before all of them, "_orig_mod." of torch.compile wherever it was applied, in any order.
void Unwrap(WeightFile* file) {
  const std::string compiled = "_orig_mod.", parallel = "module.";
  bool changed = false;
  const auto in_all = [&] {
    return !file->tensors.empty() &&
           std::all_of(file->tensors.begin(), file->tensors.end(), [&](const StoredTensor& tensor) {
             return tensor.name.starts_with(parallel);
           });
  };
  const auto remove = [&] {
    for (StoredTensor& tensor : file->tensors) {
      for (size_t at = 0; (at = tensor.name.find(compiled, at)) != std::string::npos;) {
        if (at > 0 && tensor.name[at - 1] != '.') {
          ++at;
          continue;
        }
        tensor.name.erase(at, compiled.size());
        changed = true;
      }
    }
  };
  for (remove(); in_all(); remove()) {
    for (StoredTensor& tensor : file->tensors) tensor.name.erase(0, parallel.size());
    changed = true;
  }
  if (changed) file->Check();  // two names may have become one
}

}  // namespace

WeightFile OpenWeightFile(const FileSystem& fs, const std::string& path) {
  const auto open = [&fs](const std::string& one) { return OpenOne(fs, one); };
  WeightFile file = path.ends_with(kIndexSuffix) ? OpenSharded(fs, path, open) : open(path);
  Unwrap(&file);
  return file;
}

}  // namespace contrail::model::files
