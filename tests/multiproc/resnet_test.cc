// A ResNet trains: its running statistics survive a kill, a resume and another number of ranks, and
// what it has learned is found by zero-shot classification.
#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/load.h"
#include "data/pack.h"
#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

constexpr const char* kPhotos = "/usr/share/datasets/fashion-mnist/t10k-";

class ResnetTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new JobDir;
    const Ended straight = RunJob(2, Train("straight"));
    ASSERT_EQ(straight.code, 0) << straight.output;
  }
  static void TearDownTestSuite() {
    delete dir_;
    dir_ = nullptr;
  }
  static std::vector<std::string> Train(const std::string& run,
                                        const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {"train", dir_->config(),         "--run", *dir_ / run,
                                     "--set", "model.name=tiny-rn",   "--set", "train.lr=1e-3",
                                     "--set", "model.bn_group_size=8"};
    for (const std::string& set : more) args.insert(args.end(), {"--set", set});
    return args;
  }
  static std::vector<ckpt::NamedArray> Buffers(const std::string& run) {
    return ckpt::StepReader::Open(PosixFileSystem(), *dir_ / run)->buffers();
  }
  static void ExpectRefused(const std::vector<std::string>& more, const std::string& id,
                            const std::string& fix) {
    const Ended ended = RunJob(2, Train("refused", more));
    EXPECT_EQ(ended.code, 2) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr(id + ": "));
    EXPECT_THAT(ended.output, HasSubstr(fix));
    EXPECT_FALSE(std::filesystem::exists(*dir_ / "refused"));
  }
  static JobDir* dir_;
};
JobDir* ResnetTest::dir_ = nullptr;

TEST_F(ResnetTest, KilledAndResumedIsBitIdentical) {
  const std::string run = *dir_ / "killed";
  EXPECT_NE(RunKilled(*dir_, Train("killed"), 2).code, 0);
  ASSERT_TRUE(std::filesystem::exists(run + "/checkpoints/step_00000008/COMMIT"));
  const Ended resumed = RunJob(2, {"train", "--run", run});
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_EQ(Losses(run), Losses(*dir_ / "straight"));
  for (int kind = 0; kind < 3; ++kind) {
    EXPECT_TRUE(Tensors(run, 24, kind) == Tensors(*dir_ / "straight", 24, kind)) << kind;
  }
  const auto expected = Buffers("straight");
  const auto actual = Buffers("killed");
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].name, expected[i].name);
    // A save averages the ranks' statistics, and which steps are saved depends on how fast the disk
    // is: the mean may be rounded once more or less. Nothing that is trained depends on it.
    EXPECT_THAT(actual[i].data, testing::Pointwise(testing::FloatNear(2e-6F), expected[i].data))
        << expected[i].name;
  }
}

TEST_F(ResnetTest, OtherRankCountsAndMicroBatchesTrainTheSame) {
  const Ended four = RunJob(4, Train("four", {"train.micro_batch_size=8"}));
  ASSERT_EQ(four.code, 0) << four.output;
  const Ended one = RunJob(1, {"train", "--run", *dir_ / "four", "--from", "16"});
  ASSERT_EQ(one.code, 0) << one.output;
  const auto straight = Losses(*dir_ / "straight");
  const auto losses = Losses(*dir_ / "four");
  ASSERT_EQ(losses.size(), straight.size());
  // Batch norm over groups of 8 passes rounding on more strongly than layer norm does.
  for (const auto& [step, loss] : losses) EXPECT_NEAR(loss / straight.at(step), 1, 1e-3) << step;
  const auto expected = Buffers("straight");
  const auto actual = Buffers("four");
  double squares = 0, differences = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    for (size_t j = 0; j < expected[i].data.size(); ++j) {
      const double want = expected[i].data[j];
      squares += want * want;
      differences += (actual[i].data[j] - want) * (actual[i].data[j] - want);
    }
  EXPECT_GT(squares, 0);
  // Adam makes whole steps of gradients that are rounding only (mpi_batch_norm has the tight
  // proof).
  EXPECT_LT(std::sqrt(differences / squares), 2e-2);
}

TEST_F(ResnetTest, SharesAndMicroBatchesThatSplitAGroupAreRefused) {
  ExpectRefused({"model.bn_group_size=64"}, "E-BN-GROUPS",
                "use 1 ranks, or groups of 32 (which trains another function)");
  ExpectRefused({"model.bn_group_size=24"}, "E-BN-GROUPS", "use groups of 16");
  ExpectRefused({"train.micro_batch_size=4"}, "E-MICRO-BATCH", "use 8, or");
  ExpectRefused({"train.micro_batch_size=20"}, "E-MICRO-BATCH", "use 16, or");
}

TEST_F(ResnetTest, LearnsAndIsClassifiedByItsRunningStatistics) {
  const std::string presets = std::string(CONTRAIL_SOURCE_DIR) + "/configs/presets/";
  data::Pack(PosixFileSystem(), {.out = *dir_ / "test",
                                 .limit = 500,
                                 .images = std::string(kPhotos) + "images-idx3-ubyte.gz",
                                 .labels = std::string(kPhotos) + "labels-idx1-ubyte.gz",
                                 .classes = presets + "fashion_classnames.txt",
                                 .templates = presets + "fashion_templates.txt"});
  const Ended trained =
      RunJob(1, Train("longer", {"train.steps=90", "train.lr=2e-3", "train.warmup_steps=10"}));
  ASSERT_EQ(trained.code, 0) << trained.output;
  const Ended scored = RunJob(0, {"eval", "zero-shot", "--checkpoint", *dir_ / "longer",
                                  "--dataset", *dir_ / "test", "--json"});
  ASSERT_EQ(scored.code, 0) << scored.output;
  const auto result = nlohmann::json::parse(scored.output.substr(scored.output.find('{')));
  EXPECT_GT(result["ensemble"]["top1"].get<double>(), 0.5) << scored.output;  // 0.1 by chance
}

}  // namespace
}  // namespace contrail::worker
