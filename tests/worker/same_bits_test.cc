#include "worker/same_bits.h"

#include <gmock/gmock.h>

#include "model/ops/kernels/kernels.h"

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ckpt::RunState Before() {
  ckpt::RunState state;
  state.step = 12;
  state.world_size = 4;
  state.resolution = 224;
  state.micro_batch = 8;
  state.instruction_sets = "avx512";
  return state;
}

TEST(SameBitsTest, AMicroBatchIsKeptWhereBitsCanBe) {
  EXPECT_EQ(MicroBatchToKeep(Before(), 4, 224), 8);
  EXPECT_EQ(MicroBatchToKeep(Before(), 3, 224), 0);
  EXPECT_EQ(MicroBatchToKeep(Before(), 4, 336), 0);
  EXPECT_EQ(MicroBatchToKeep(ckpt::RunState{.world_size = 4, .resolution = 224}, 4, 224), 0)
      << "an older checkpoint";
}

TEST(SameBitsTest, SaysWhyBitsDiffer) {
  EXPECT_THAT(WhyBitsDiffer(Before(), Before()), IsEmpty());
  ckpt::RunState now = Before();
  now.micro_batch = 4;
  now.instruction_sets = "avx2";
  EXPECT_THAT(WhyBitsDiffer(Before(), now),
              ElementsAre(HasSubstr("encodes 4 samples at once; until step 12 8"),
                          HasSubstr("compute with avx2; until step 12 with avx512")));
  now.world_size = 3;
  EXPECT_THAT(WhyBitsDiffer(Before(), now), IsEmpty()) << "other ranks, other bits anyway";
  ckpt::RunState old = Before();
  old.micro_batch = 0;
  old.instruction_sets = "";
  EXPECT_THAT(WhyBitsDiffer(old, Before()), IsEmpty());
}

TEST(SameBitsTest, ARankNamesItsInstructionSet) {
  const auto comm = MakeSingleComm();
  EXPECT_EQ(InstructionSets(*comm, false), model::kernels::Best<float>().name);
  EXPECT_EQ(InstructionSets(*comm, true), model::kernels::BestMixed().name);
  EXPECT_EQ(SmallestMicroBatch(*comm, {.samples = 6}).samples, 6);
}

}  // namespace
}  // namespace contrail::worker
