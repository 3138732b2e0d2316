#include "checkpoint/hdf5_image.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "checkpoint/hdf5_driver.h"
#include "checkpoint/hdf5_environment.h"
#include "common/error.h"

extern char** environ;

namespace contrail::ckpt {
namespace {

std::mutex& GlobalLock() {
  static std::mutex mutex;
  static const bool prepared = [] {
    ForgetHdf5Environment();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // we report; HDF5 stays off stderr
    return true;
  }();
  static_cast<void>(prepared);
  return mutex;
}

herr_t KeepFirst(unsigned /*n*/, const H5E_error2_t* error, void* data) {
  auto* text = static_cast<std::string*>(data);
  if (text->empty() && error->desc != nullptr) *text = error->desc;
  return 0;
}

[[noreturn]] void Fail(const char* doing) {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, KeepFirst, &reason);
  throw EnvironmentError("E-CKPT-HDF5", "HDF5",
                         std::string("could not ") + doing + (reason.empty() ? "" : ": " + reason));
}

// Variable-length UTF-8: h5py shows it as str.
hid_t TextType() {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

void Put(hid_t object, const char* name, hid_t file_type, hid_t memory_type, const void* value) {
  const Hid space(H5Screate(H5S_SCALAR), H5Sclose, "make a scalar");
  const Hid attribute(H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT),
                      H5Aclose, "make an attribute");
  CheckHdf5(H5Awrite(attribute, memory_type, value), "write an attribute");
}

}  // namespace

void ForgetHdf5Environment() {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "HDF5_", 5) != 0) continue;
    const char* equals = std::strchr(*entry, '=');
    if (equals != nullptr) names.emplace_back(*entry, static_cast<size_t>(equals - *entry));
  }
  for (const std::string& name : names) ::unsetenv(name.c_str());
}

Hid::Hid(hid_t id, Closer close, const char* doing) : id_(id), close_(close) {
  if (id < 0) Fail(doing);
}

void CheckHdf5(int64_t status, const char* doing) {
  if (status < 0) Fail(doing);
}

void PutAttribute(hid_t object, const char* name, const std::string& value) {
  const Hid type(TextType(), H5Tclose, "make a string type");
  const char* text = value.c_str();
  Put(object, name, type, type, &text);
}

void PutAttribute(hid_t object, const char* name, uint64_t value) {
  Put(object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value);
}

void PutAttribute(hid_t object, const char* name, int64_t value) {
  Put(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void PutAttribute(hid_t object, const char* name, double value) {
  Put(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

void PutText(hid_t parent, const char* name, const std::string& value) {
  const Hid type(TextType(), H5Tclose, "make a string type");
  const Hid space(H5Screate(H5S_SCALAR), H5Sclose, "make a scalar");
  const Hid create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make properties");
  CheckHdf5(H5Pset_obj_track_times(create, false), "leave time stamps out");
  const Hid set(H5Dcreate2(parent, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT), H5Dclose,
                "make a text");
  const char* text = value.c_str();
  CheckHdf5(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &text), "write a text");
}

Hdf5Image::Hdf5Image(uint64_t alignment, uint64_t metadata_block) : lock_(GlobalLock()) {
  const Hid access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make properties");
  CheckHdf5(UseSparseBytes(access, &bytes_), "choose the driver");
  CheckHdf5(H5Pset_alignment(access, alignment, alignment), "set the alignment");
  CheckHdf5(H5Pset_meta_block_size(access, metadata_block), "set the metadata block");
  file_ = H5Fcreate("/contrail-memory", H5F_ACC_TRUNC, H5P_DEFAULT, access);
  CheckHdf5(file_, "make a file in memory");
}

Hdf5Image::~Hdf5Image() {
  if (file_ >= 0) H5Fclose(file_);
}

void Hdf5Image::Finish() {
  const hid_t file = file_;
  file_ = -1;
  CheckHdf5(H5Fclose(file), "close a file in memory");
}

}  // namespace contrail::ckpt
