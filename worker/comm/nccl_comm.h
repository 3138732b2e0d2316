#pragma once
// NCCL for tensors on CUDA devices: LibTorch's ProcessGroupNCCL, from a shared object of its own
// (comm/nccl/) that is loaded when somebody asks for it.

#include "worker/comm/comm.h"

namespace contrail::worker {

// Collectives of CUDA tensors over NCCL, of others over `control` (device_comm.h). This rank's are
// on CUDA device `device` of its node. A collective may take `timeout` seconds; 0 = for ever.
// Collective. Throws on all ranks alike: EnvironmentError E-NCCL-INIT, with every rank's reason.
std::unique_ptr<Comm> MakeNcclComm(std::unique_ptr<Comm> control, int device, double timeout);

}  // namespace contrail::worker
