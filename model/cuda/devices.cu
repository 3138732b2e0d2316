// Which devices there are, and whether code of this build runs on them: asked by launching a
// kernel, since a compute capability alone does not say what the driver accepts.

#include <cuda_runtime.h>

#include <cstdio>

#include "model/cuda/abi.h"

namespace {

__global__ void Answer(int* out) { *out = 42; }

bool RunsThisBuild(int device) {
  int* answer = nullptr;
  int value = 0;
  if (cudaSetDevice(device) != cudaSuccess || cudaMalloc(&answer, sizeof *answer) != cudaSuccess) {
    cudaGetLastError();  // forget it: the next device is asked afresh
    return false;
  }
  Answer<<<1, 1>>>(answer);
  const bool launched = cudaGetLastError() == cudaSuccess;
  const bool copied =
      cudaMemcpy(&value, answer, sizeof value, cudaMemcpyDeviceToHost) == cudaSuccess;
  // The context goes with its memory: this process may never use the device again.
  cudaDeviceReset();
  return launched && copied && value == 42;
}

void FormatUuid(const cudaUUID_t& uuid, char* out, int size) {
  int at = std::snprintf(out, size, "GPU-");
  for (int i = 0; i < 16; ++i) {
    const bool dash = i == 4 || i == 6 || i == 8 || i == 10;
    at += std::snprintf(out + at, size - at, "%s%02x", dash ? "-" : "",
                        static_cast<unsigned char>(uuid.bytes[i]));
  }
}

}  // namespace

extern "C" int ContrailCudaDevices(ContrailCudaDevice* out, int capacity, char* problem,
                                   int problem_size) {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess) {
    std::snprintf(problem, problem_size, "%s", cudaGetErrorString(found));
    return -1;
  }
  for (int i = 0; i < count && i < capacity; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    std::snprintf(out[i].name, sizeof out[i].name, "%s", properties.name);
    FormatUuid(properties.uuid, out[i].uuid, sizeof out[i].uuid);
    out[i].memory_bytes = static_cast<long long>(properties.totalGlobalMem);
    out[i].capability = properties.major * 10 + properties.minor;
    out[i].runs_this_build = RunsThisBuild(i) ? 1 : 0;
  }
  return count;
}

extern "C" const char* ContrailCudaArchList(void) { return CONTRAIL_CUDA_ARCH_LIST; }
