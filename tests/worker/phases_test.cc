#include "worker/phases.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "common/error.h"
#include "configs/load.h"
#include "worker/micro_batch.h"
#include "worker/resume.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

model::ModelSpec Tiny() { return model::FindModel("tiny-vit"); }

TEST(PhasePlanTest, WithoutPhasesTheRunIsOne) {
  Config config;
  config.train.epochs = 2.5;
  config.train.lr = 1;
  config.train.warmup_steps = 10;
  const PhasePlan plan(config, Tiny(), 100);
  EXPECT_EQ(plan.total_steps(), 250u);
  EXPECT_DOUBLE_EQ(plan.LearningRate(0), 0.1);
  EXPECT_DOUBLE_EQ(plan.LearningRate(9), 1);
  EXPECT_NEAR(plan.LearningRate(130), 0.5, 1e-12);  // half of the cosine
}

TEST(PhasePlanTest, EachPhaseHasItsOwnWarmUpAndCosine) {
  Config config;
  config.train.lr = 1;
  config.train.warmup_steps = 0;
  config.phase = {{.steps = 10}, {.epochs = 1, .resolution = 28, .lr = 0.5, .warmup_steps = 2}};
  const PhasePlan plan(config, Tiny(), 20);
  EXPECT_EQ(plan.total_steps(), 30u);
  EXPECT_EQ(plan.IndexOf(9), 0u);
  EXPECT_EQ(plan.IndexOf(10), 1u);
  EXPECT_EQ(plan.IndexOf(30), 1u);
  EXPECT_DOUBLE_EQ(plan.LearningRate(0), 1);
  EXPECT_LT(plan.LearningRate(9), 0.05);
  EXPECT_DOUBLE_EQ(plan.LearningRate(10), 0.25);
  EXPECT_DOUBLE_EQ(plan.LearningRate(11), 0.5);
}

std::string Refused(const model::ModelSpec& spec, int64_t resolution) {
  Config config;
  config.file = "a.toml";
  config.phase = {{.steps = 10}, {.steps = 10, .resolution = resolution}};
  try {
    PhasePlan(config, spec, 20);
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-PHASE-RESOLUTION");
    return error.what();
  }
  return "";
}

TEST(PhasePlanTest, ResolutionsThatAModelCannotHaveAreRefused) {
  EXPECT_EQ(Refused(Tiny(), 42), "");
  EXPECT_THAT(Refused(Tiny(), 30), HasSubstr("a.toml: [[phase]] 2: resolution 30 is not"));
  EXPECT_THAT(Refused(Tiny(), 30), HasSubstr("multiple of 7, the patch size"));
  EXPECT_THAT(Refused(Tiny(), 30), HasSubstr("set 28 or 35"));
  EXPECT_THAT(Refused(Tiny(), 5), HasSubstr("set 7"));
  EXPECT_EQ(Refused(model::FindModel("ViT-B/16"), 448), "") << "785 positions";
  EXPECT_EQ(Refused(model::FindModel("ViT-L/14"), 448), "");
  EXPECT_THAT(Refused(Tiny(), 2051), HasSubstr("set at most 2044"));
  EXPECT_EQ(Refused(Tiny(), 2044), "");
  EXPECT_EQ(Refused(model::FindModel("RN50"), 256), "");
  EXPECT_THAT(Refused(model::FindModel("RN50"), 336 + 8), HasSubstr("set 320 or 352"));
}

TEST(PhasePlanTest, MomentsBeginWithEachResolution) {
  Config config;
  config.phase = {{.steps = 10}, {.steps = 5}, {.steps = 5, .resolution = 56}, {.steps = 5}};
  const PhasePlan plan(config, Tiny(), 20);
  EXPECT_EQ(plan.ResolutionAt(14), 28);
  EXPECT_EQ(plan.ResolutionAt(15), 56);
  EXPECT_EQ(plan.ResolutionAt(20), 28);
  EXPECT_EQ(plan.UpdatesBefore(0), 0u);
  EXPECT_EQ(plan.UpdatesBefore(12), 12u);  // the second phase goes on with the first one's
  EXPECT_EQ(plan.UpdatesBefore(15), 0u);
  EXPECT_EQ(plan.UpdatesBefore(19), 4u);
  EXPECT_EQ(plan.UpdatesBefore(21), 1u);
  EXPECT_TRUE(plan.BeginsPhase(15));
  EXPECT_FALSE(plan.BeginsPhase(16));
  EXPECT_FALSE(plan.BeginsPhase(25));  // the end of the run
}

TEST(PresetsTest, LoadAndFitTheirModels) {
  const std::string dir = std::string(CONTRAIL_SOURCE_DIR) + "/configs/presets/";
  int presets = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.path().extension() != ".toml") continue;
    ++presets;
    const Config config = LoadConfig(entry.path(), {});
    model::ModelSpec spec = model::FindModel(config.model.name);
    spec.resnet.bn_group_size = config.model.bn_group_size;
    EXPECT_NO_THROW(PhasePlan(config, spec, 100)) << entry.path();
    EXPECT_NO_THROW(CheckMicroBatch(config, spec, static_cast<int>(config.launcher.ranks)))
        << entry.path();
  }
  EXPECT_GE(presets, 4);
  const Config fixres = LoadConfig(dir + "vit-l14-336.toml", {});
  const PhasePlan plan(fixres, model::FindModel(fixres.model.name), 100);
  EXPECT_EQ(plan.ResolutionAt(3199), 224);
  EXPECT_EQ(plan.ResolutionAt(3200), 336);
  EXPECT_DOUBLE_EQ(plan.LearningRate(3200), 2e-5);
}

TEST(TrainingChangesTest, NamesKeysThatTrainAndOnlyThose) {
  const std::string before =
      "[train]\nlr = 0.001  # a.toml:3\nsteps = 24  # a.toml:4\n[launcher]\nranks = 4  # default\n"
      "\n[[phase]]\nlr = 0.1\n";
  const std::string after =
      "[train]\nlr = 0.002  # --set\nsteps = 24  # --set\n[launcher]\nranks = 2  # --set\n"
      "\n[[phase]]\nlr = 0.1\n\n[[phase]]\nsteps = 3\n";
  EXPECT_EQ(
      TrainingChanges(before, after),
      (std::vector<std::string>{"train.lr: 0.001 -> 0.002", "phase 2.steps: (default) -> 3"}));
}

}  // namespace
}  // namespace contrail::worker
