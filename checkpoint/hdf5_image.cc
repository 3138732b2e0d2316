#include "checkpoint/hdf5_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

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

// A sparse file without a name worth keeping; on tmpfs where there is one. (A memfd has no path
// that HDF5 accepts.)
int OpenScratch(std::string* path) {
  for (const char* dir : {"/dev/shm", "/tmp", "/var/tmp"}) {
    *path = std::string(dir) + "/contrail-hdf5-XXXXXX";
    const int fd = ::mkostemp(path->data(), O_CLOEXEC);
    if (fd >= 0) return fd;
  }
  throw EnvironmentError("E-CKPT-HDF5", "/dev/shm, /tmp",
                         "could not make a scratch file: " + ErrnoText(errno),
                         "make one of them writable");
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
  std::string path;
  fd_ = OpenScratch(&path);
  try {
    const Hid access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make properties");
    CheckHdf5(H5Pset_fapl_sec2(access), "choose the driver");
    CheckHdf5(H5Pset_alignment(access, alignment, alignment), "set the alignment");
    CheckHdf5(H5Pset_meta_block_size(access, metadata_block), "set the metadata block");
    file_ = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    CheckHdf5(file_, "make a file in memory");
  } catch (...) {
    ::unlink(path.c_str());
    ::close(fd_);
    throw;
  }
  ::unlink(path.c_str());
}

Hdf5Image::~Hdf5Image() {
  if (file_ >= 0) H5Fclose(file_);
  ::close(fd_);
}

void Hdf5Image::Finish() {
  const hid_t file = file_;
  file_ = -1;
  CheckHdf5(H5Fclose(file), "close a file in memory");
}

uint64_t Hdf5Image::size() const {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) Fail("stat a file in memory");
  return static_cast<uint64_t>(info.st_size);
}

std::string Hdf5Image::Read(uint64_t offset, uint64_t size) const {
  std::string bytes(size, '\0');
  uint64_t done = 0;
  while (done < size) {
    const ssize_t n =
        ::pread(fd_, bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) Fail("read a file in memory");
    done += static_cast<uint64_t>(n);
  }
  return bytes;
}

}  // namespace contrail::ckpt
