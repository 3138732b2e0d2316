#include <c10/cuda/CUDAFunctions.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "worker/comm/nccl/abi.h"

namespace {

bool Fail(const std::string& text, char* problem, int size) {
  std::snprintf(problem, static_cast<size_t>(size), "%s", text.substr(0, text.find('\n')).c_str());
  return false;
}

}  // namespace

bool ContrailNcclBackend(c10d::Store* store, int rank, int size, int device, double timeout,
                         c10d::Backend** out, char* problem, int problem_size) {
  try {
    const int count = c10::cuda::device_count();
    if (count == 0) return Fail("no CUDA device is visible", problem, problem_size);
    if (device >= count) {
      return Fail(
          "there is no CUDA device " + std::to_string(device) + " among " + std::to_string(count),
          problem, problem_size);
    }
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
    auto options = c10d::ProcessGroupNCCL::Options::create();
    if (timeout > 0) {
      options->timeout = std::chrono::milliseconds(static_cast<int64_t>(timeout * 1000));
    } else {
      options->timeout = std::chrono::hours(24 * 365);
    }
    auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(
        c10::intrusive_ptr<c10d::Store>::reclaim_copy(store), rank, size, options);
    group->eagerConnectSingleDevice(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
    *out = group.release();
    return true;
  } catch (const c10::Error& error) {
    return Fail(error.what_without_backtrace(), problem, problem_size);
  } catch (const std::exception& error) {
    return Fail(error.what(), problem, problem_size);
  }
}
