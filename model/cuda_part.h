#pragma once
// The CUDA part is one shared object, libcontrail_cuda.so, loaded only when somebody asks for it:
// the same programs run on machines without a GPU, and a broken driver cannot stop them.
//
// Found beside the program in ../lib (build tree and installed tree alike).

#include <cstdint>
#include <string>
#include <vector>

namespace contrail::model {

struct CudaDevice {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::string uuid;  // "GPU-..." : two ranks must not share one
  int64_t memory_bytes = 0;
  int capability = 0;            // 90 = sm_90
  bool runs_this_build = false;  // a kernel of this build was launched on it and answered
};

struct CudaPart {
  bool present = false;   // the shared object was found and loaded
  std::string problem;    // why there are no devices: "no CUDA driver", ...; empty if there are
  std::string arch_list;  // what this build was compiled for: "80 90"
  std::vector<CudaDevice> devices;
};

// Loads the CUDA part and asks it. Never throws: no GPU is a normal machine.
CudaPart FindCuda();

}  // namespace contrail::model
