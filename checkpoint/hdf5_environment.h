#pragma once
// HDF5 listens to inherited variables (HDF5_VDS_PREFIX, HDF5_USE_FILE_LOCKING, HDF5_DRIVER, ...)
// that would change what our files mean. Programs call this once at their start, before any thread.

namespace contrail::ckpt {

// Removes every HDF5_* variable from this process' environment. Also done at the first use of HDF5.
void ForgetHdf5Environment();

}  // namespace contrail::ckpt
