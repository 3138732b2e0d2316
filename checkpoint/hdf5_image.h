#pragma once
// An HDF5 file made in memory, private to this folder (the only one that sees hdf5.h).
//
// HDF5 1.10 never calls fsync and crashes in H5Fclose on a full disk, so it never touches a file
// system here: it builds its file in sparse memory, and our own writes carry the bytes on. HDF5 is
// not thread-safe: an image holds the process' one HDF5 lock while it lives.

#include <hdf5.h>

#include <cstdint>
#include <mutex>
#include <string>

#include "checkpoint/sparse_bytes.h"

namespace contrail::ckpt {

// Owns one HDF5 identifier. A negative identifier throws EnvironmentError E-CKPT-HDF5.
class Hid {
 public:
  using Closer = herr_t (*)(hid_t);
  Hid(hid_t id, Closer close, const char* doing);
  ~Hid() { close_(id_); }
  Hid(const Hid&) = delete;
  Hid& operator=(const Hid&) = delete;
  operator hid_t() const { return id_; }  // NOLINT(google-explicit-constructor)

 private:
  hid_t id_;
  Closer close_;
};

// Throws E-CKPT-HDF5 with HDF5's own reason where `status` is negative.
void CheckHdf5(int64_t status, const char* doing);

// Attributes and small values, no time stamps: the same calls give the same bytes.
void PutAttribute(hid_t object, const char* name, const std::string& value);
void PutAttribute(hid_t object, const char* name, uint64_t value);
void PutAttribute(hid_t object, const char* name, int64_t value);
void PutAttribute(hid_t object, const char* name, double value);
void PutText(hid_t parent, const char* name, const std::string& value);  // a scalar dataset

class Hdf5Image {
 public:
  // Objects of at least `alignment` bytes start at its multiples; `metadata_block` bytes are set
  // aside at a time for HDF5's own structures.
  Hdf5Image(uint64_t alignment, uint64_t metadata_block);
  ~Hdf5Image();
  Hdf5Image(const Hdf5Image&) = delete;
  Hdf5Image& operator=(const Hdf5Image&) = delete;

  hid_t file() const { return file_; }
  void Finish();  // closes the HDF5 file; every identifier of it must be closed already
  // After Finish.
  uint64_t size() const { return bytes_.end; }
  std::string Read(uint64_t offset, uint64_t size) const { return bytes_.Read(offset, size); }

 private:
  std::lock_guard<std::mutex> lock_;
  SparseBytes bytes_;
  hid_t file_ = -1;
};

}  // namespace contrail::ckpt
