// Two phases at two resolutions: killed and resumed in either, at the same and at other rank
// counts; what the second one gains; a new run from weights of another resolution.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/load.h"
#include "data/pack.h"
#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kFirst = 12;  // steps of the first phase
constexpr uint64_t kAll = 24;
constexpr const char* kPhotos = "/usr/share/datasets/fashion-mnist/t10k-";

class PhasesTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new JobDir;
    WriteConfig("vit", "name = \"tiny-vit\"", 28, 42);
    const Ended straight = RunJob(2, {"train", *dir_ / "vit.toml", "--run", *dir_ / "straight"});
    ASSERT_EQ(straight.code, 0) << straight.output;
    EXPECT_THAT(straight.output, HasSubstr("resolution 28 -> 42: position embedding resampled"));
  }
  static void TearDownTestSuite() {
    delete dir_;
    dir_ = nullptr;
  }
  static void WriteConfig(const std::string& name, const std::string& model, int64_t before,
                          int64_t after, const std::string& lengths = "steps = 12\n") {
    std::ofstream(*dir_ / (name + ".toml"))
        << "[run]\nseed = 7\n[model]\n"
        << model << "\n[data]\n"
        << "train = [\"data/pairs-{000000..000001}.tar\"]\n"
        << "[train]\nglobal_batch_size = 64\nlr = 1e-3\nwarmup_steps = 3\n"
        << "[checkpoint]\nevery_steps = 5\nkeep_last = 20\n"
        << "[[phase]]\n"
        << lengths << "resolution = " << before << "\n"
        << "[[phase]]\n"
        << lengths << "resolution = " << after << "\nlr = 5e-4\n";
  }
  static std::unique_ptr<ckpt::StepReader> Step(const std::string& run, uint64_t step) {
    char name[40];
    std::snprintf(name, sizeof name, "/checkpoints/step_%08llu",
                  static_cast<unsigned long long>(step));
    return ckpt::StepReader::Open(PosixFileSystem(), run + name);
  }
  // Same losses, and the same weights and moments at the end, to the last bit; statistics to a
  // rounding, as every save averages them once more.
  static void ExpectSameRun(const std::string& run, const std::string& expected) {
    EXPECT_EQ(Losses(run), Losses(expected));
    for (int kind = 0; kind < 3; ++kind) {
      EXPECT_TRUE(Tensors(run, kAll, kind) == Tensors(expected, kAll, kind)) << kind;
    }
    const auto ours = Step(run, kAll);
    const auto theirs = Step(expected, kAll);
    ASSERT_EQ(ours->buffers().size(), theirs->buffers().size());
    for (size_t i = 0; i < ours->buffers().size(); ++i) {
      EXPECT_THAT(ours->buffers()[i].data,
                  testing::Pointwise(testing::FloatNear(2e-6F), theirs->buffers()[i].data))
          << ours->buffers()[i].name;
    }
  }
  static void ExpectNear(const std::string& run, double tolerance) {
    const auto expected = Losses(*dir_ / "straight");
    const auto losses = Losses(run);
    ASSERT_EQ(losses.size(), kAll);
    for (const auto& [step, loss] : losses) {
      EXPECT_NEAR(loss / expected.at(step), 1, tolerance) << step;
    }
  }
  // Killed in that save: the first ones are of steps 5, 10, 12 (the end of the first phase) and 15.
  static std::string Killed(const std::string& name, const std::string& config, int save) {
    const std::string run = *dir_ / name;
    EXPECT_NE(RunKilled(*dir_, {"train", *dir_ / config, "--run", run}, save).code, 0);
    return run;
  }
  static JobDir* dir_;
};
JobDir* PhasesTest::dir_ = nullptr;

TEST_F(PhasesTest, TheStepBetweenIsCommittedAtTheFirstResolution) {
  const std::string run = *dir_ / "straight";
  ASSERT_EQ(Losses(run).size(), kAll);
  EXPECT_EQ(Step(run, kFirst)->state().resolution, 28);
  EXPECT_EQ(Step(run, kFirst)->state().phase, 1u);
  EXPECT_EQ(Step(run, kFirst)->state().phase_step, 0u);
  EXPECT_EQ(Step(run, 15)->state().resolution, 42);
  EXPECT_EQ(Step(run, 15)->state().phase_step, 3u);
  EXPECT_GT(Step(run, 15)->layout().num_elements, Step(run, kFirst)->layout().num_elements);
}

TEST_F(PhasesTest, KilledInEitherPhaseAndResumedIsBitIdentical) {
  for (const int save : {2, 4, 5}) {
    const std::string run = Killed("killed" + std::to_string(save), "vit.toml", save);
    const Ended resumed = RunJob(2, {"train", "--run", run});
    ASSERT_EQ(resumed.code, 0) << resumed.output;
    ExpectSameRun(run, *dir_ / "straight");
  }
}

TEST_F(PhasesTest, OtherRankCountsGoOnInEitherPhase) {
  const std::string run = *dir_ / "elastic";
  std::filesystem::copy(*dir_ / "straight", run, std::filesystem::copy_options::recursive);
  const Ended four = RunJob(4, {"train", "--run", run, "--from", "10"});
  ASSERT_EQ(four.code, 0) << four.output;
  EXPECT_THAT(four.output, HasSubstr("28 -> 42"));
  ExpectNear(run, 1e-5);
  const Ended at_the_border = RunJob(1, {"train", "--run", run, "--from", "12"});
  ASSERT_EQ(at_the_border.code, 0) << at_the_border.output;
  EXPECT_THAT(at_the_border.output, HasSubstr("28 -> 42"));
  ExpectNear(run, 1e-5);
  const Ended eight = RunJob(8, {"train", "--run", run, "--from", "20"});
  ASSERT_EQ(eight.code, 0) << eight.output;
  EXPECT_THAT(eight.output, Not(HasSubstr("28 -> 42")));
  ExpectNear(run, 1e-5);
}

// Zero-shot accuracy of a committed step on test photos, by the program.
double Accuracy(const std::string& step, const std::string& photos) {
  const Ended scored =
      RunJob(0, {"eval", "zero-shot", "--checkpoint", step, "--dataset", photos, "--json"});
  EXPECT_EQ(scored.code, 0) << scored.output;
  const auto result = nlohmann::json::parse(scored.output.substr(scored.output.find('{')));
  return result["ensemble"]["top1"].get<double>();
}

// Training goes on at the new resolution and evaluation follows it. (The photos have 28 pixels to a
// side: that more steps at 28 would gain less is not claimed.)
TEST_F(PhasesTest, TheSecondPhaseGainsZeroShotAccuracy) {
  const std::string presets = std::string(CONTRAIL_SOURCE_DIR) + "/configs/presets/";
  data::Pack(PosixFileSystem(), {.out = *dir_ / "test",
                                 .limit = 1000,
                                 .images = std::string(kPhotos) + "images-idx3-ubyte.gz",
                                 .labels = std::string(kPhotos) + "labels-idx1-ubyte.gz",
                                 .classes = presets + "fashion_classnames.txt",
                                 .templates = presets + "fashion_templates.txt"});
  WriteConfig("gain", "name = \"tiny-vit\"", 28, 35, "steps = 90\n");
  const std::string run = *dir_ / "gain";
  const Ended ended =
      RunJob(1, {"train", *dir_ / "gain.toml", "--run", run, "--set", "data.crop=random-resized",
                 "--set", "data.crop_scale_min=0.3", "--set", "checkpoint.every_steps=0"});
  ASSERT_EQ(ended.code, 0) << ended.output;
  const double before = Accuracy(run + "/checkpoints/step_00000090", *dir_ / "test");
  const double after = Accuracy(run + "/checkpoints/step_00000180", *dir_ / "test");
  std::printf("[ accuracy ] %.1f%% after the first phase, %.1f%% after the second\n", 100 * before,
              100 * after);
  EXPECT_GT(before, 0.2);
  EXPECT_GT(after, before + 0.02);
}

TEST_F(PhasesTest, ResnetsChangeTheirResolutionToo) {
  WriteConfig("rn", "name = \"tiny-rn\"\nbn_group_size = 8", 32, 64);
  const std::string straight = *dir_ / "rn";
  const Ended ended = RunJob(2, {"train", *dir_ / "rn.toml", "--run", straight});
  ASSERT_EQ(ended.code, 0) << ended.output;
  EXPECT_EQ(Step(straight, kAll)->state().resolution, 64);
  const std::string run = Killed("rn_killed", "rn.toml", 4);
  const Ended resumed = RunJob(2, {"train", "--run", run});
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  ExpectSameRun(run, straight);
}

TEST_F(PhasesTest, AnotherResolutionInTheMiddleOfAPhaseIsRefused) {
  const std::string run = *dir_ / "edited";
  std::filesystem::copy(*dir_ / "straight", run, std::filesystem::copy_options::recursive);
  std::ifstream in(run + "/config.toml");
  std::string toml((std::istreambuf_iterator<char>(in)), {});
  const size_t at = toml.find("resolution = 42");
  ASSERT_NE(at, std::string::npos);
  std::ofstream(run + "/config.toml") << toml.replace(at, 15, "resolution = 56");
  const Ended refused = RunJob(2, {"train", "--run", run, "--from", "15"});
  EXPECT_EQ(refused.code, 2) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("E-PHASE-RESOLUTION"));
  EXPECT_THAT(refused.output, HasSubstr("was trained at resolution 42"));
}

TEST_F(PhasesTest, WeightsOfAnotherResolutionStartANewRun) {
  const std::string run = *dir_ / "init";
  const Ended ended =
      RunJob(2, {"train", dir_->config(), "--run", run, "--set", "train.steps=2", "--set",
                 "model.init=" + (*dir_ / "straight") + "/checkpoints/step_00000024"});
  ASSERT_EQ(ended.code, 0) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("resolution 42 -> 28: position embedding resampled"));
  EXPECT_LT(Losses(run).at(1), Losses(*dir_ / "straight").at(1) - 0.2);
}

}  // namespace
}  // namespace contrail::worker
