#include "eval/feature_file.h"

#include <hdf5.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/error.h"
#include "common/strings.h"

namespace contrail::eval {
namespace {

// Closes an HDF5 identifier when it goes out of scope.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t), const char* what) : id_(id), close_(close) {
    if (id_ < 0) throw EnvironmentError("E-IO", "", std::string("HDF5 failed in ") + what);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { close_(id_); }
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

void Check(herr_t status, const char* what) {
  if (status < 0) throw EnvironmentError("E-IO", "", std::string("HDF5 failed in ") + what);
}

// Reserves [rows, dim] fp32 in the file and returns the payload's offset.
uint64_t Reserve(hid_t file, const char* name, uint64_t rows, int64_t dim) {
  const hsize_t dims[2] = {rows, static_cast<hsize_t>(dim)};
  const Handle space(H5Screate_simple(2, dims, nullptr), H5Sclose, "H5Screate");
  const Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "H5Pcreate");
  Check(H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time");
  Check(H5Pset_fill_time(create, H5D_FILL_TIME_NEVER), "H5Pset_fill_time");
  const Handle set(H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT),
                   H5Dclose, "H5Dcreate");
  if (rows == 0) return 0;
  const haddr_t offset = H5Dget_offset(set);
  if (offset == HADDR_UNDEF) throw EnvironmentError("E-IO", "", "HDF5 gave no dataset offset");
  return offset;
}

Handle StringType(size_t size) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "H5Tcopy");
  Check(H5Tset_size(type, std::max<size_t>(size, 1)), "H5Tset_size");
  Check(H5Tset_cset(type, H5T_CSET_UTF8), "H5Tset_cset");
  Check(H5Tset_strpad(type, H5T_STR_NULLPAD), "H5Tset_strpad");
  return type;
}

void WriteKeys(hid_t file, const std::vector<std::string>& keys) {
  size_t width = 1;
  for (const std::string& key : keys) width = std::max(width, key.size());
  std::string packed(keys.size() * width, '\0');
  for (size_t i = 0; i < keys.size(); ++i) {
    std::memcpy(packed.data() + i * width, keys[i].data(), keys[i].size());
  }
  const hsize_t dims[1] = {keys.size()};
  const Handle type = StringType(width);
  const Handle space(H5Screate_simple(1, dims, nullptr), H5Sclose, "H5Screate");
  const Handle set(
      H5Dcreate2(file, "image_keys", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose,
      "H5Dcreate");
  Check(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, packed.data()), "H5Dwrite");
}

void WriteAttribute(hid_t file, const char* name, const std::string& value) {
  const Handle type = StringType(value.size());
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, "H5Screate");
  const Handle attribute(H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                         "H5Acreate");
  const std::string padded = value.empty() ? std::string(1, '\0') : value;
  Check(H5Awrite(attribute, type, padded.data()), "H5Awrite");
}

void WriteAttribute(hid_t file, const char* name, uint64_t value) {
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, "H5Screate");
  const Handle attribute(H5Acreate2(file, name, H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, "H5Acreate");
  Check(H5Awrite(attribute, H5T_NATIVE_UINT64, &value), "H5Awrite");
}

// The disk must hold the file before HDF5 starts: it cannot report a full one.
void CheckRoom(const std::string& path, uint64_t bytes) {
  const size_t slash = path.rfind('/');
  const std::string dir = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct statvfs room {};
  if (statvfs(dir.c_str(), &room) != 0) {
    throw UserError("E-OUT-DIR", dir, ErrnoText(errno), "create the directory first");
  }
  const uint64_t free = static_cast<uint64_t>(room.f_bavail) * room.f_frsize;
  if (free < bytes) {
    throw EnvironmentError("E-IO", path,
                           "needs " + HumanBytes(bytes) + ", the disk has " + HumanBytes(free),
                           "free some space or write elsewhere");
  }
}

uint64_t TotalBytes(const FeatureFile::Options& options) {
  uint64_t bytes = 1 << 20;
  for (const std::string& key : options.image_keys) bytes += 2 * key.size();
  return bytes + (options.image_keys.size() + options.num_texts) *
                     static_cast<uint64_t>(options.dim) * sizeof(float);
}

}  // namespace

FeatureFile::FeatureFile(FileSystem& fs, const Options& options)
    : fs_(fs),
      path_(options.path),
      temporary_(options.path + ".tmp"),
      row_bytes_(static_cast<uint64_t>(options.dim) * sizeof(float)) {
  if (fs_.Exists(path_)) {
    throw UserError("E-OUT-EXISTS", path_, "exists already", "remove it or choose another name");
  }
  CheckRoom(path_, TotalBytes(options));
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  {
    const Handle file(H5Fcreate(temporary_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
                      H5Fclose, ("creating " + temporary_).c_str());
    if (options.images) {
      image_offset_ = Reserve(file, "image_features", options.image_keys.size(), options.dim);
      WriteKeys(file, options.image_keys);
    }
    if (options.texts) {
      text_offset_ = Reserve(file, "text_features", options.num_texts, options.dim);
    }
    WriteAttribute(file, "model", options.state.model);
    WriteAttribute(file, "activation", options.state.activation);
    WriteAttribute(file, "checkpoint", options.checkpoint);
    WriteAttribute(file, "step", options.state.step);
  }
  file_ = fs_.Open(temporary_, FileSystem::Mode::kShared);
}

FeatureFile::~FeatureFile() {
  if (committed_) return;
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
  const size_t slash = path_.rfind('/');
  fs_.SyncDir(slash == std::string::npos ? "." : path_.substr(0, slash + 1));
  committed_ = true;
}

}  // namespace contrail::eval
