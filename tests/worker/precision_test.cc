#include "worker/precision.h"

#include <gtest/gtest.h>

#include "model/ops/kernels/kernels.h"

namespace contrail::worker {
namespace {

std::string Chosen(const std::string& wanted, const std::string& model) {
  const auto comm = MakeSingleComm();
  Config config;
  config.train.precision = wanted;
  return ChoosePrecision(PosixFileSystem(), *comm, config, model::FindModel(model), "").name;
}

TEST(Precision, AutoIsBf16WhereThatIsFaster) {
  const bool fast = model::kernels::BestMixed().native_bf16;
  EXPECT_EQ(Chosen("auto", "ViT-B/32"), fast ? "bf16" : "fp32");
  EXPECT_EQ(Chosen("auto", "ViT-L/14@336"), fast ? "bf16" : "fp32");
  EXPECT_EQ(Chosen("auto", "tiny-vit"), "fp32");
  EXPECT_EQ(Chosen("auto", "RN50"), "fp32");
}

TEST(Precision, WhatTheUserSaysHolds) {
  for (const char* name : {"fp32", "bf16", "fp16"}) {
    EXPECT_EQ(Chosen(name, "tiny-vit"), name);
    EXPECT_EQ(Chosen(name, "RN50"), name);
  }
  EXPECT_EQ(Precision{"fp16"}.type(), at::kHalf);
  EXPECT_EQ(Precision{"bf16"}.type(), at::kBFloat16);
  EXPECT_EQ(Precision{}.type(), at::kFloat);
}

}  // namespace
}  // namespace contrail::worker
