#include "model/files/open_file.h"

#include <algorithm>

#include "model/files/safetensors.h"
#include "model/files/torch_archive.h"
#include "model/files/zip.h"

namespace contrail::model::files {
namespace {

constexpr const char* kIndexSuffix = ".safetensors.index.json";

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

}  // namespace

WeightFile OpenWeightFile(const FileSystem& fs, const std::string& path) {
  if (path.ends_with(kIndexSuffix)) return OpenShardedSafetensors(fs, path);
  const FileBytes bytes(fs, path);
  if (LooksLikeZip(bytes)) return OpenTorchArchive(fs, path);
  if (LooksLikeSafetensors(bytes)) return OpenSafetensors(fs, path);
  throw Foreign(bytes);
}

}  // namespace contrail::model::files
