#include "model/cuda_part.h"

#include <gtest/gtest.h>

namespace contrail::model {
namespace {

// On a machine without a GPU the part says why; on one with a GPU every device must run this build
// or be reported as one that cannot.
TEST(CudaPart, AnswersOnEveryMachine) {
  const CudaPart part = FindCuda();
  if (!part.present) {
    EXPECT_EQ(part.problem, "this build has no CUDA part");
    EXPECT_TRUE(part.devices.empty());
    return;
  }
  EXPECT_FALSE(part.arch_list.empty());
  EXPECT_EQ(part.devices.empty(), !part.problem.empty()) << part.problem;
  for (const CudaDevice& device : part.devices) {
    EXPECT_FALSE(device.name.empty());
    EXPECT_EQ(device.uuid.size(), 40u) << device.uuid;
    EXPECT_GT(device.memory_bytes, 0);
  }
}

}  // namespace
}  // namespace contrail::model
