// Steps that cannot be used. The weights are poisoned at one word of the vocabulary and the word is
// written into chosen captions, so that exactly these samples give NaN.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "checkpoint/load.h"
#include "checkpoint/save.h"
#include "data/dataset.h"
#include "data/order.h"
#include "data/tokenizer.h"
#include "monitoring/bad_step.h"
#include "monitoring/end_record.h"
#include "monitoring/incident.h"
#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kWord = "zebra ";  // no class name and no template has it
constexpr uint64_t kBatch = 64;
constexpr uint64_t kSeed = 7;  // of jobs.cc

std::string Bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Writes the word over the beginning of the n-th caption of a tar.
void PoisonCaption(std::string& tar, uint64_t n) {
  for (size_t at = 0; at + 512 <= tar.size();) {
    const std::string name = tar.c_str() + at;
    const size_t size = std::strtoul(tar.substr(at + 124, 11).c_str(), nullptr, 8);
    if (name.ends_with(".txt") && n-- == 0) {
      ASSERT_GE(size, std::strlen(kWord));
      tar.replace(at + 512, std::strlen(kWord), kWord);
      return;
    }
    at += 512 + (size + 511) / 512 * 512;
  }
  FAIL() << "the shard has too few captions";
}

class BadStepsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new JobDir;
    const std::string run = *dir_ / "source";
    ASSERT_EQ(RunJob(0, {"train", dir_->config(), "--run", run, "--set", "train.steps=1"}).code, 0);
    PoisonWeights(run);
  }
  static void TearDownTestSuite() {
    delete dir_;
    dir_ = nullptr;
  }

  // A checkpoint whose embedding of the word is NaN.
  static void PoisonWeights(const std::string& run) {
    FileSystem& fs = PosixFileSystem();
    const auto step = ckpt::StepReader::Open(fs, run);
    const uint64_t size = step->layout().num_elements;
    ckpt::SavePlan plan;
    plan.checkpoints_dir = *dir_ / "poisoned/checkpoints";
    plan.state = step->state();
    plan.layout = step->layout();
    plan.topology = {0, 1, {0}};
    plan.ranges_of_rank = {{{0, size}}};
    plan.weights_only = true;
    ckpt::Snapshot snapshot;
    snapshot.ranges = plan.ranges_of_rank[0];
    snapshot.data[0].resize(size);
    step->Read(0, {0, size}, snapshot.data[0].data());
    const std::vector<int32_t> ids = data::Tokenizer::Load()->Encode(kWord);
    ASSERT_EQ(ids.size(), 3u);
    for (const ckpt::TensorInfo& tensor : plan.layout.tensors) {
      if (tensor.name != "token_embedding.weight") continue;
      const uint64_t width = static_cast<uint64_t>(tensor.shape[1]);
      float* row = snapshot.data[0].data() + tensor.begin + width * static_cast<uint64_t>(ids[1]);
      std::fill(row, row + width, NAN);
    }
    fs.MakeDirs(plan.checkpoints_dir);
    ckpt::SaveJob job(fs, plan, std::move(snapshot));
    ckpt::CommitStep(fs, plan, {job.Report()});
  }

  // Shards whose samples at these positions of epoch 0 hold the word; returns their keys.
  static std::vector<std::string> PoisonData(const std::string& name,
                                             const std::vector<uint64_t>& positions) {
    const std::string folder = *dir_ / name;
    std::filesystem::create_directory(folder);
    std::vector<std::string> shards = {Bytes(*dir_ / "data/pairs-000000.tar"),
                                       Bytes(*dir_ / "data/pairs-000001.tar")};
    const data::SampleOrder order(kSeed, {1000, 1000}, 65536);
    for (const uint64_t position : positions) {
      const uint64_t sample = order.At(0, position);
      PoisonCaption(shards[sample / 1000], sample % 1000);
    }
    for (size_t i = 0; i < shards.size(); ++i) {
      std::ofstream(folder + "/pairs-00000" + std::to_string(i) + ".tar", std::ios::binary)
          << shards[i];
    }
    const auto dataset = data::Dataset::Open({folder + "/pairs-{000000..000001}.tar"});
    std::vector<std::string> keys;
    for (const uint64_t position : positions) keys.push_back(dataset->Key(order.At(0, position)));
    return keys;
  }

  static std::vector<std::string> Args(const std::string& data, const std::string& run,
                                       const std::vector<std::string>& more) {
    std::vector<std::string> args = {"train", dir_->config(), "--run", *dir_ / run};
    std::vector<std::string> sets = {
        "model.init=" + (*dir_ / "poisoned"), "checkpoint.every_steps=1",
        "data.train=" + (*dir_ / data) + "/pairs-{000000..000001}.tar"};
    sets.insert(sets.end(), more.begin(), more.end());
    for (const std::string& set : sets) args.insert(args.end(), {"--set", set});
    return args;
  }

  static JobDir* dir_;
};
JobDir* BadStepsTest::dir_ = nullptr;

TEST_F(BadStepsTest, IsSkippedByAllRanksAndNamesSampleAndRank) {
  // Row 40 of step 6: of two ranks it is the second one's.
  const std::vector<std::string> keys = PoisonData("one", {5 * kBatch + 40});
  const std::string run = *dir_ / "one_run";
  // In the warm-up the rate does not depend on the length of the run.
  const Ended ended = RunJob(2, Args("one", "one_run", {"train.steps=6", "train.warmup_steps=99"}));
  ASSERT_EQ(ended.code, 0) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("step 6 is skipped: the loss is nan"));

  const std::vector<monitor::BadStep> bad = monitor::ReadBadSteps({run}, 1);
  ASSERT_EQ(bad.size(), 1u);
  EXPECT_EQ(bad[0].step, 6u);
  EXPECT_EQ(bad[0].what, "loss");
  EXPECT_TRUE(std::isnan(bad[0].value));
  EXPECT_EQ(bad[0].position, 5 * kBatch);
  EXPECT_EQ(bad[0].rank, 1);
  EXPECT_EQ(bad[0].samples, keys);

  const std::map<uint64_t, double> losses = Losses(run);
  ASSERT_EQ(losses.size(), 6u);
  for (const auto& [step, loss] : losses) EXPECT_EQ(std::isnan(loss), step == 6) << step;

  const Ended five = RunJob(2, Args("one", "five", {"train.steps=5", "train.warmup_steps=99"}));
  ASSERT_EQ(five.code, 0) << five.output;
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind) {  // bytes: the poisoned row is NaN
    const std::vector<float> before = Tensors(*dir_ / "five", 5, kind);
    const std::vector<float> after = Tensors(run, 6, kind);
    EXPECT_EQ(std::memcmp(before.data(), after.data(), before.size() * sizeof(float)), 0) << kind;
  }
  const auto skipped = [&] {
    return ckpt::StepReader::Open(PosixFileSystem(), run)->state().skipped_steps;
  };
  EXPECT_EQ(skipped(), 1u);

  const Ended more = RunJob(2, {"train", "--run", run, "--set", "train.steps=8"});
  EXPECT_EQ(more.code, 0) << more.output;
  EXPECT_EQ(skipped(), 1u);
  EXPECT_NE(Tensors(run, 8, 1), Tensors(run, 6, 1));
}

TEST_F(BadStepsTest, ThreeInARowRollBackAndTheSecondTimeStopTheRun) {
  const std::vector<std::string> keys =
      PoisonData("three", {2 * kBatch + 1, 3 * kBatch + 2, 4 * kBatch + 3});
  const std::string run = *dir_ / "three_run";
  std::string command = std::string(CONTRAIL_BINARY_DIR) + "/bin/contrail";
  for (const std::string& arg : Args("three", "three_run", {"train.steps=9"})) {
    command += " '" + arg + "'";
  }
  command += " --ranks 2 2>'" + (*dir_ / "three.log") + "'";
  const int status = std::system(command.c_str());
  const std::string log = Bytes(*dir_ / "three.log");
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 4) << log;
  const std::string last = log.substr(log.rfind('\n', log.size() - 2) + 1);
  EXPECT_THAT(last, HasSubstr("E-GAVE-UP"));
  EXPECT_THAT(last, HasSubstr("E-NONFINITE twice at step"));
  EXPECT_THAT(last, HasSubstr("3 bad steps in a row (3 to 5)"));
  EXPECT_THAT(last, HasSubstr(keys[2]));

  std::vector<std::string> causes;
  for (const monitor::Incident& incident : monitor::ReadIncidents({run})) {
    causes.push_back(incident.cause + " " + incident.action);
    EXPECT_EQ(incident.rank, 0) << incident.detail;  // every poisoned row is in its half
    if (incident.cause == "bad_steps") {
      EXPECT_LE(incident.resumed_from, 2u) << "the bad steps are not saved";
    }
  }
  EXPECT_THAT(causes, ElementsAre("bad_step skip", "bad_step skip", "bad_step skip",
                                  "bad_step skip", "bad_step skip", "bad_step skip",
                                  "bad_steps restart", "bad_steps give_up"));
}

}  // namespace
}  // namespace contrail::worker
