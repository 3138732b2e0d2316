// What is refused before step 0: one line, exit 2, nothing written.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "monitoring/end_record.h"
#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

class StartTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { dir_ = new JobDir; }
  static void TearDownTestSuite() {
    delete dir_;
    dir_ = nullptr;
  }
  static void ExpectRefused(int ranks, const std::vector<std::string>& more,
                            const std::string& id) {
    const std::string run = *dir_ / "refused";
    std::vector<std::string> args = {"train", dir_->config(), "--run", run};
    args.insert(args.end(), more.begin(), more.end());
    const Ended ended = RunJob(ranks, args);
    EXPECT_EQ(ended.code, 2) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr(id + ": "));
    EXPECT_EQ(ended.output.find(id), ended.output.rfind(id)) << "said twice: " << ended.output;
    EXPECT_FALSE(std::filesystem::exists(run));
  }
  static JobDir* dir_;
};
JobDir* StartTest::dir_ = nullptr;

TEST_F(StartTest, RanksThatDoNotDivideTheBatch) { ExpectRefused(3, {}, "E-RANKS"); }

TEST_F(StartTest, AnotherNumberOfRanksThanAskedFor) {
  ExpectRefused(2, {"--ranks", "4"}, "E-MPI-SIZE");
  ExpectRefused(0, {"--ranks", "4"}, "E-MPI-SIZE");
}

TEST_F(StartTest, WhatTheEngineCannotDo) {
  ExpectRefused(2, {"--set", "train.loss=triplet"}, "E-CONFIG-CHOICE");
  ExpectRefused(0, {"--set", "data.mean_std=imagenet"}, "E-CONFIG-CHOICE");
}

TEST_F(StartTest, CaptionsThatAreNotThere) {
  ExpectRefused(2, {"--set", "data.caption_key=json:none"}, "E-DATA-NO-CAPTIONS");
  ExpectRefused(0, {"--set", "data.caption_key=xml"}, "E-DATA-CAPTION-KEY");
}

TEST_F(StartTest, SizesThatDoNotFit) {
  ExpectRefused(2, {"--set", "train.global_batch_size=4096"}, "E-DATA-SMALL");
  ExpectRefused(2, {"--set", "train.micro_batch_size=5"}, "E-MICRO-BATCH");
}

TEST_F(StartTest, NamesThatAreNotThere) {
  ExpectRefused(2, {"--set", "model.name=tiny-vitt"}, "E-MODEL-NAME");
  ExpectRefused(2, {"--set", "data.train=/nowhere/a.tar"}, "E-DATA-MISSING");
  ExpectRefused(0, {"--set", "model.init=/nowhere"}, "E-CKPT-MISSING");
  ExpectRefused(2, {"--sett", "a=b"}, "E-CLI-OPTION");
}

TEST_F(StartTest, APhaseOfAResolutionThatTheModelCannotHave) {
  const std::string config = *dir_ / "phases.toml";
  std::ofstream(config) << "[model]\nname = \"tiny-vit\"\n[data]\n"
                           "train = [\"data/pairs-000000.tar\"]\n"
                           "[train]\nglobal_batch_size = 64\n"
                           "[[phase]]\nsteps = 2\n[[phase]]\nsteps = 2\nresolution = 57\n";
  const Ended ended = RunJob(2, {"train", config, "--run", *dir_ / "phases"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.output, HasSubstr("E-PHASE-RESOLUTION"));
  EXPECT_THAT(ended.output, HasSubstr("set 56 or 63"));
  EXPECT_FALSE(std::filesystem::exists(*dir_ / "phases"));
}

TEST_F(StartTest, RanksThatDisagreeShowBothSides) {
  const std::string run = *dir_ / "disagree";
  const Ended ended = RunJob(1, {"train", dir_->config(), "--run", run, ":", "train",
                                 dir_->config(), "--run", run, "--set", "train.lr=0.5"});
  EXPECT_EQ(ended.code, 2) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("E-RANKS-DISAGREE: rank 1"));
  EXPECT_THAT(ended.output, HasSubstr("than rank 0"));
  EXPECT_THAT(ended.output, HasSubstr("train.lr = 0.5 against train.lr = 0.001"));
  EXPECT_FALSE(std::filesystem::exists(run));
}

// A key that trains nothing, but that ranks act on together.
TEST_F(StartTest, RanksThatWouldSaveAtOtherSteps) {
  const std::string run = *dir_ / "disagree";
  const Ended ended =
      RunJob(1, {"train", dir_->config(), "--run", run, ":", "train", dir_->config(), "--run", run,
                 "--set", "checkpoint.every_steps=9"});
  EXPECT_EQ(ended.code, 2) << ended.output;
  EXPECT_THAT(ended.output,
              HasSubstr("checkpoint.every_steps = 9 against checkpoint.every_steps = 8"));
  EXPECT_FALSE(std::filesystem::exists(run));
}

// A worker that was linked another time on one node: the same file but for its build id.
TEST_F(StartTest, RanksOfAnotherProgram) {
  const std::string bin = std::string(CONTRAIL_BINARY_DIR) + "/bin/";
  std::string program;
  {
    std::ifstream in(bin + "contrail-worker", std::ios::binary);
    program.assign((std::istreambuf_iterator<char>(in)), {});
  }
  const std::string note("\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", 16);  // 20 bytes of id follow
  const size_t at = program.find(note);
  ASSERT_NE(at, std::string::npos);
  program[at + note.size()] ^= 1;
  const std::string other = bin + "contrail-worker-of-another-link";
  std::ofstream(other, std::ios::binary) << program;
  program.clear();
  std::filesystem::permissions(other, std::filesystem::perms::owner_all);
  const std::string run = *dir_ / "disagree";
  const std::vector<std::string> train = {"train", dir_->config(), "--run", run};
  const Ended ended = RunJob(1, train, other);
  std::filesystem::remove(other);
  EXPECT_EQ(ended.code, 2) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("E-RANKS-DISAGREE: rank 1"));
  EXPECT_THAT(ended.output, HasSubstr("runs another program ("));
  EXPECT_FALSE(std::filesystem::exists(run));
}

TEST_F(StartTest, MoreRanksThanSamplesInABatch) {
  ExpectRefused(4, {"--set", "train.global_batch_size=3"}, "E-RANKS");
  ExpectRefused(2, {"--set", "train.global_batch_size=1"}, "E-RANKS");
}

TEST_F(StartTest, AnExistingRunIsNeverOverwritten) {
  const std::string run = *dir_ / "existing";
  std::filesystem::create_directory(run);
  std::ofstream(run + "/notes.txt") << "mine";
  const Ended ended = RunJob(2, {"train", dir_->config(), "--run", run});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.output, HasSubstr("E-RUN-EXISTS"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(run), {}), 1);
}

// Where none may be replaced, one rank alone meets the broken photos: it speaks, leaves its record,
// and ends the job.
TEST_F(StartTest, AnUndecodableImageEndsTheJobAndIsNamed) {
  std::string bytes;
  {
    std::ifstream in(*dir_ / "data/pairs-000000.tar", std::ios::binary);
    bytes.assign((std::istreambuf_iterator<char>(in)), {});
  }
  std::filesystem::create_directory(*dir_ / "broken");
  size_t photos = 0;
  for (size_t at = 0; (at = bytes.find("\x89PNG", at)) != std::string::npos; ++at) {
    if (++photos % 100 == 0) bytes.replace(at, 4, "junk");
  }
  ASSERT_EQ(photos, 1000u);
  std::ofstream(*dir_ / "broken/pairs.tar", std::ios::binary) << bytes;
  const std::string run = *dir_ / "broken_run";
  const Ended ended =
      RunJob(2, {"train", dir_->config(), "--run", run, "--set",
                 "data.train=" + (*dir_ / "broken/pairs.tar"), "--set", "data.max_replaced=0"});
  EXPECT_NE(ended.code, 0);
  EXPECT_THAT(ended.output, HasSubstr("E-DATA-IMAGE: "));
  EXPECT_THAT(ended.output, HasSubstr("pairs.tar/"));
  int spoke = 0;
  for (int rank = 0; rank < 2; ++rank) {
    const auto end = monitor::ReadEndRecord({run}, 1, rank);
    if (!end) continue;
    ++spoke;
    EXPECT_EQ(end->outcome, "user_error");
    EXPECT_EQ(end->error_id, "E-DATA-IMAGE");
  }
  EXPECT_GE(spoke, 1);
}

TEST_F(StartTest, ADivergingRunEndsOnEveryRankAndNamesTheStep) {
  const std::string run = *dir_ / "diverging";
  const Ended ended = RunJob(2, {"train", dir_->config(), "--run", run, "--set", "train.lr=1e20"});
  EXPECT_EQ(ended.code, 75) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("E-NONFINITE: step"));
  for (int rank = 0; rank < 2; ++rank) {
    const auto end = monitor::ReadEndRecord({run}, 1, rank);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->outcome, "environment_error");
    EXPECT_EQ(end->error_id, "E-NONFINITE");
  }
}

}  // namespace
}  // namespace contrail::worker
