// What the optimizer costs a rank: its share of the moments, and nothing else.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "model/clip.h"
#include "model/registry.h"
#include "worker/flat.h"

namespace contrail::worker {
namespace {

// Of its own memory: pages of files come and go with what the machine needs.
double ResidentBytes() {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    double kilobytes = 0;
    if (word == "RssAnon:" && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

class OptimizerMemory : public testing::TestWithParam<int> {};

TEST_P(OptimizerMemory, IsOneNthOnARank) {
  const int ranks = GetParam();
  const auto params = model::ClipModel::Create(model::FindModel("ViT-B/32"))->params();
  double elements = 0;
  for (const model::ParamSpec& spec : params) {
    elements += static_cast<double>(model::NumElements(spec));
  }
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const double share = elements * 2 * static_cast<double>(c10::elementSize(type)) / ranks;
    for (const int rank : {0, ranks - 1}) {
      const double before = ResidentBytes();
      const FlatParams flat(params, rank, ranks, {.moment_type = type});
      const auto counted = static_cast<double>(flat.optimizer_bytes());
      const double others = static_cast<double>(flat.bytes()) - counted;
      EXPECT_NEAR(counted / share, 1, 0.05) << "by the tensors, rank " << rank;
      EXPECT_NEAR((ResidentBytes() - before - others) / share, 1, 0.05)
          << "by the kernel, rank " << rank;
      EXPECT_NEAR(others / (elements * 8), 1, 0.01) << "weights and gradients are whole";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, OptimizerMemory, testing::Values(1, 2, 4, 8),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace contrail::worker
