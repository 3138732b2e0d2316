#include "eval/feature_file.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/hdf5_image.h"
#include "checkpoint/skeleton.h"
#include "common/error.h"
#include "common/paths.h"
#include "model/files/new_file.h"

namespace contrail::eval {
namespace {

using ckpt::CheckHdf5;
using ckpt::Hid;

// Reserves [rows, dim] fp32 and returns where its payload goes.
ckpt::Extent Reserve(hid_t file, const char* name, uint64_t rows, int64_t dim) {
  const hsize_t dims[2] = {rows, static_cast<hsize_t>(dim)};
  const Hid space(H5Screate_simple(2, dims, nullptr), H5Sclose, "make a space");
  const Hid create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make properties");
  CheckHdf5(H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY), "allocate early");
  CheckHdf5(H5Pset_fill_time(create, H5D_FILL_TIME_NEVER), "never fill");
  const Hid set(H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT),
                H5Dclose, "make a dataset");
  if (rows == 0) return {};
  const haddr_t offset = H5Dget_offset(set);
  CheckHdf5(offset == HADDR_UNDEF ? -1 : 0, "place a dataset");
  return {offset, offset + rows * static_cast<uint64_t>(dim) * sizeof(float)};
}

void WriteKeys(hid_t file, const std::vector<std::string>& keys) {
  size_t width = 1;
  for (const std::string& key : keys) width = std::max(width, key.size());
  std::string packed(keys.size() * width, '\0');
  for (size_t i = 0; i < keys.size(); ++i) {
    std::memcpy(packed.data() + i * width, keys[i].data(), keys[i].size());
  }
  const Hid type(H5Tcopy(H5T_C_S1), H5Tclose, "make a type");
  CheckHdf5(H5Tset_size(type, width), "size a type");
  CheckHdf5(H5Tset_cset(type, H5T_CSET_UTF8), "name the character set");
  CheckHdf5(H5Tset_strpad(type, H5T_STR_NULLPAD), "pad a type");
  const hsize_t dims[1] = {keys.size()};
  const Hid space(H5Screate_simple(1, dims, nullptr), H5Sclose, "make a space");
  const Hid set(H5Dcreate2(file, "image_keys", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                H5Dclose, "make the keys");
  CheckHdf5(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, packed.data()), "write the keys");
}

}  // namespace

FeatureFile::FeatureFile(FileSystem& fs, const Options& options)
    : fs_(fs),
      path_(options.path),
      temporary_(model::files::TemporaryName(options.path)),
      row_bytes_(static_cast<uint64_t>(options.dim) * sizeof(float)) {
  model::files::RequireNew(fs_, path_);
  ckpt::Hdf5Image image(/*alignment=*/4096, /*metadata_block=*/4096);
  std::vector<ckpt::Extent> payload;
  if (options.images) {
    payload.push_back(
        Reserve(image.file(), "image_features", options.image_keys.size(), options.dim));
    image_offset_ = payload.back().begin;
    WriteKeys(image.file(), options.image_keys);
  }
  if (options.texts) {
    payload.push_back(Reserve(image.file(), "text_features", options.num_texts, options.dim));
    text_offset_ = payload.back().begin;
  }
  ckpt::PutAttribute(image.file(), "model", options.state.model);
  ckpt::PutAttribute(image.file(), "activation", options.state.activation);
  ckpt::PutAttribute(image.file(), "mean_std", options.state.mean_std);
  ckpt::PutAttribute(image.file(), "checkpoint", options.checkpoint);
  ckpt::PutAttribute(image.file(), "step", options.state.step);
  image.Finish();

  file_ = fs_.Open(temporary_, FileSystem::Mode::kExclusive);
  try {
    for (const ckpt::Extent& gap : ckpt::Gaps(payload, image.size())) {
      const std::string bytes = image.Read(gap.begin, gap.end - gap.begin);
      file_->PWrite(bytes.data(), bytes.size(), gap.begin);
    }
  } catch (const Error&) {
    RemoveTemporary();
    throw;
  }
}

FeatureFile::~FeatureFile() {
  if (!committed_) RemoveTemporary();
}

void FeatureFile::RemoveTemporary() {
  file_.reset();
  try {
    if (fs_.Exists(temporary_)) fs_.RemoveFile(temporary_);
  } catch (const Error&) {
    // The error that brought us here is the one to report.
  }
}

void FeatureFile::WriteImages(uint64_t first_row, uint64_t rows, const float* features) {
  file_->PWrite(features, rows * row_bytes_, image_offset_ + first_row * row_bytes_);
}

void FeatureFile::WriteTexts(uint64_t first_row, uint64_t rows, const float* features) {
  file_->PWrite(features, rows * row_bytes_, text_offset_ + first_row * row_bytes_);
}

void FeatureFile::Commit() {
  file_->Sync();
  file_->Close();
  fs_.Rename(temporary_, path_);
  fs_.SyncDir(FolderOf(path_));
  committed_ = true;
}

}  // namespace contrail::eval
