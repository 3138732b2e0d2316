#include "model/cuda_part.h"

#include <dlfcn.h>

#include <filesystem>

#include "model/cuda/abi.h"

namespace contrail::model {
namespace {

constexpr int kMaxDevices = 64;

void* LoadBesideProgram() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto path = program.parent_path() / "../lib/libcontrail_cuda.so";
  return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}

}  // namespace

CudaPart FindCuda() {
  CudaPart part;
  void* library = LoadBesideProgram();
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
  char problem[256] = "";
  const int count = devices(found.data(), kMaxDevices, problem, sizeof problem);
  if (count < 0) part.problem = problem;
  for (int i = 0; i < count && i < kMaxDevices; ++i) {
    const ContrailCudaDevice& device = found[static_cast<size_t>(i)];
    part.devices.push_back({device.name, device.uuid, device.memory_bytes, device.capability,
                            device.runs_this_build != 0});
  }
  return part;
}

}  // namespace contrail::model
