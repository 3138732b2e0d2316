#include "model/cuda_part.h"

#include <dlfcn.h>

#include "common/beside_program.h"
#include "model/cuda/abi.h"

namespace contrail::model {
namespace {

constexpr int kMaxDevices = 64;

}  // namespace

CudaPart FindCuda() {
  CudaPart part;
  std::string problem;  // whatever it is, there is no part to ask
  void* library = LoadBesideProgram("libcontrail_cuda.so", &problem);
  if (library == nullptr) {
    part.problem = "this build has no CUDA part";
    return part;
  }
  part.present = true;
  const auto devices =
      reinterpret_cast<decltype(&ContrailCudaDevices)>(dlsym(library, "ContrailCudaDevices"));
  const auto arch_list =
      reinterpret_cast<decltype(&ContrailCudaArchList)>(dlsym(library, "ContrailCudaArchList"));
  if (devices == nullptr || arch_list == nullptr) {
    part.problem = "libcontrail_cuda.so is of another build";
    return part;
  }
  part.arch_list = arch_list();
  std::vector<ContrailCudaDevice> found(kMaxDevices);
  char text[256] = "";
  const int count = devices(found.data(), kMaxDevices, text, sizeof text);
  if (count < 0) part.problem = text;
  for (int i = 0; i < count && i < kMaxDevices; ++i) {
    const ContrailCudaDevice& device = found[static_cast<size_t>(i)];
    part.devices.push_back({device.name, device.uuid, device.memory_bytes, device.capability,
                            device.runs_this_build != 0});
  }
  return part;
}

}  // namespace contrail::model
