#pragma once
// Collectives of tensors on a device over a c10d backend of that device (NCCL), those of host
// tensors, texts included, over the comm that started the job (MPI). One numbering for both.
//
// What differs from comm.h for tensors on the device, as c10d and CUDA have it: Wait() lets the
// device's current stream wait, not the host; the order of a sum is the backend's, the same in
// every run on the same machines but not that of the ranks. Wire::kBFloat16 sums in fp32, in the
// order of the ranks. Errors: EnvironmentError E-DEVICE-COLLECTIVE, naming operation and number.

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "worker/comm/comm.h"

namespace contrail::worker {

// The same ranks in `backend` as in `control`.
std::unique_ptr<Comm> MakeDeviceComm(std::unique_ptr<Comm> control,
                                     c10::intrusive_ptr<c10d::Backend> backend,
                                     at::DeviceType device);

}  // namespace contrail::worker
