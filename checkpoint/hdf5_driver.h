#pragma once
// An HDF5 file driver over SparseBytes. HDF5's own core driver holds every byte up to the end of
// the file, payload included; a file on tmpfs can be full, and HDF5 1.10 crashes on that.

#include <hdf5.h>

#include "checkpoint/sparse_bytes.h"

namespace contrail::ckpt {

// File access properties that make H5Fcreate write into `bytes`, which must outlive the file.
// Negative on failure. Under the HDF5 lock.
herr_t UseSparseBytes(hid_t access, SparseBytes* bytes);

}  // namespace contrail::ckpt
