#pragma once
// buffers.h5: the arrays of a model that are no parameters (running statistics of batch norm), one
// contiguous fp32 dataset each under its state-dict name. At most a few MB, so it is made whole in
// memory, written by the root, and read by the offsets in COMMIT.

#include <string>
#include <vector>

#include "checkpoint/format.h"

namespace contrail::ckpt {

struct BuffersImage {
  std::string bytes;  // "" where there are no arrays: no file is written
  BufferFile file;    // what COMMIT says of it
};

// Throws EnvironmentError E-CKPT-HDF5.
BuffersImage MakeBuffers(uint64_t step, const std::vector<NamedArray>& arrays);

}  // namespace contrail::ckpt
