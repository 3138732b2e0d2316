#include "checkpoint/hdf5_driver.h"

#include <algorithm>
#include <exception>
#include <new>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

namespace contrail::ckpt {
namespace {

struct Info {
  SparseBytes* bytes;
};

// HDF5 wants its own struct first.
struct File {
  H5FD_t base;
  SparseBytes* bytes;
  haddr_t allocated;  // HDF5's end of address space
};

File* Of(H5FD_t* file) { return reinterpret_cast<File*>(file); }
const File* Of(const H5FD_t* file) { return reinterpret_cast<const File*>(file); }

H5FD_t* Open(const char* /*name*/, unsigned /*flags*/, hid_t access, haddr_t /*max*/) {
  const auto* info = static_cast<const Info*>(H5Pget_driver_info(access));
  if (info == nullptr) return nullptr;
  auto* file = new (std::nothrow) File{};
  if (file == nullptr) return nullptr;
  file->bytes = info->bytes;
  return &file->base;
}

herr_t Close(H5FD_t* file) {
  delete Of(file);
  return 0;
}

herr_t Query(const H5FD_t* /*file*/, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t GetEoa(const H5FD_t* file, H5FD_mem_t /*type*/) { return Of(file)->allocated; }

herr_t SetEoa(H5FD_t* file, H5FD_mem_t /*type*/, haddr_t address) {
  Of(file)->allocated = address;
  return 0;
}

haddr_t GetEof(const H5FD_t* file, H5FD_mem_t /*type*/) { return Of(file)->bytes->end; }

herr_t Read(H5FD_t* file, H5FD_mem_t /*type*/, hid_t /*transfer*/, haddr_t address, size_t size,
            void* buffer) {
  Of(file)->bytes->Read(address, static_cast<char*>(buffer), size);
  return 0;
}

herr_t Write(H5FD_t* file, H5FD_mem_t /*type*/, hid_t /*transfer*/, haddr_t address, size_t size,
             const void* buffer) {
  try {
    Of(file)->bytes->Write(address, static_cast<const char*>(buffer), size);
  } catch (const std::exception&) {  // out of memory; no exception may cross C
    return -1;
  }
  return 0;
}

// The file ends where HDF5's address space does, even inside payload that nobody wrote.
herr_t Truncate(H5FD_t* file, hid_t /*transfer*/, hbool_t /*closing*/) {
  Of(file)->bytes->end = Of(file)->allocated;
  return 0;
}

hid_t Register() {
  static H5FD_class_t driver = {};
#if H5_VERSION_GE(1, 13, 0)
  driver.version = H5FD_CLASS_VERSION;
  driver.value = static_cast<H5FD_class_value_t>(300);  // of the range for private drivers
#endif
  driver.name = "contrail-sparse";
  driver.maxaddr = static_cast<haddr_t>(INT64_MAX);
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(Info);
  driver.open = Open;
  driver.close = Close;
  driver.query = Query;
  driver.get_eoa = GetEoa;
  driver.set_eoa = SetEoa;
  driver.get_eof = GetEof;
  driver.read = Read;
  driver.write = Write;
  driver.truncate = Truncate;
  // As the ordinary file driver: HDF5's structures and payload in stretches of their own.
  std::fill(std::begin(driver.fl_map), std::end(driver.fl_map), H5FD_MEM_SUPER);
  driver.fl_map[H5FD_MEM_DRAW] = H5FD_MEM_DRAW;
  driver.fl_map[H5FD_MEM_GHEAP] = H5FD_MEM_DRAW;
  return H5FDregister(&driver);
}

}  // namespace

herr_t UseSparseBytes(hid_t access, SparseBytes* bytes) {
  static const hid_t driver = Register();
  if (driver < 0) return -1;
  const Info info{bytes};
  return H5Pset_driver(access, driver, &info);
}

}  // namespace contrail::ckpt
