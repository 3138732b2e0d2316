// What a resume starts from when checkpoints cannot be seen, are damaged, or are gone.
#include "worker/resume.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "checkpoint/newest.h"
#include "common/recording_file_system.h"
#include "model/clip.h"
#include "monitoring/first_commit.h"
#include "monitoring/run_files.h"
#include "worker/agree.h"
#include "worker/precision.h"
#include "worker/saver.h"

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kBatch = 8;

// Fails question or read number `fail_at` with errno `number`.
class ForgetfulFileSystem : public FaultyFileSystem {
 public:
  ForgetfulFileSystem(FileSystem& inner, uint64_t fail_at, int number)
      : FaultyFileSystem(inner), fail_at_(fail_at), number_(number) {}

  bool Exists(const std::string& path) const override {
    Ask(path);
    return FaultyFileSystem::Exists(path);
  }
  EntryKind KindOf(const std::string& path) const override {
    Ask(path);
    return FaultyFileSystem::KindOf(path);
  }
  uint64_t FileSize(const std::string& path) const override {
    Ask(path);
    return FaultyFileSystem::FileSize(path);
  }
  std::vector<std::string> List(const std::string& path) const override {
    Ask(path);
    return FaultyFileSystem::List(path);
  }
  std::unique_ptr<ReadableFile> OpenToRead(const std::string& path) const override {
    Ask(path);
    return FaultyFileSystem::OpenToRead(path);
  }
  std::optional<std::string> ReadIfThere(const std::string& path) const override {
    Ask(path);
    return FaultyFileSystem::ReadIfThere(path);
  }
  bool failed() const { return questions_ >= fail_at_; }

 private:
  void Ask(const std::string& path) const {
    if (++questions_ == fail_at_) throw IoError(number_, path, "could not tell");
  }
  const uint64_t fail_at_;
  const int number_;
  mutable uint64_t questions_ = 0;
};

model::ModelSpec SmallSpec() {
  model::ModelSpec spec = model::FindModel("tiny-vit");
  spec.embed_dim = 8;
  spec.vit.width = spec.text.width = 16;
  spec.vit.layers = spec.text.layers = 1;
  spec.vit.heads = spec.text.heads = 2;
  spec.text.vocab = 50;
  return spec;
}

// A run with committed steps 10 and 20 of a small model.
class ResumeTest : public testing::Test {
 protected:
  ResumeTest()
      : comm_(MakeSingleComm()),
        spec_(SmallSpec()),
        model_(model::ClipModel::Create(spec_)),
        flat_(model_->params(), 0, 1),
        statistics_(model_->buffers()) {
    config_.train.global_batch_size = kBatch;
    config_.train.steps = 100;
    disk_.MakeDirs(run_.Checkpoints());
    Commit({10, 20});
  }

  ckpt::RunState StateOf(uint64_t step) const {
    ckpt::RunState state;
    state.step = step;
    state.samples_seen = step * kBatch;
    state.attempt = 1;
    state.model = spec_.name;
    state.activation = spec_.activation;
    state.resolution = spec_.resolution;
    state.data_fingerprint = "data";
    state.precision = "bf16";
    return state;
  }

  void Commit(const std::vector<uint64_t>& steps) {
    monitor::WriteLease(run_, {.owner = "aa", .attempt = 1}, disk_);
    Saver saver(disk_, *comm_,
                {.writer = {run_, 1, "aa"},
                 .keep_last = 10,
                 .layout = flat_.layout(),
                 .ranges_of_rank = {flat_.RangesOf(0)}},
                {});
    for (const uint64_t step : steps) {
      saver.Finish(StateOf(step), [&] {
        auto snapshot = std::make_shared<ckpt::Snapshot>();
        snapshot->ranges = flat_.RangesOf(0);
        for (auto& data : snapshot->data) {
          data.assign(static_cast<size_t>(flat_.own_elements()), static_cast<float>(step));
        }
        return snapshot;
      });
    }
  }

  std::optional<Resumed> ResumeWith(FileSystem& fs, std::optional<uint64_t> from = std::nullopt) {
    const PhasePlan plan(config_, spec_, 100);
    return Resume(
        fs, *comm_, run_, from, config_, plan, "data",
        [&](uint64_t) {
          return Target{spec_, flat_, statistics_};
        },
        /*agreed=*/false, [&](const ckpt::StepEntry& step) { damaged_.push_back(step); });
  }
  // The id of the error with which all ranks leave.
  std::string ErrorOf(FileSystem& fs, ErrorKind kind) {
    try {
      ResumeWith(fs);
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_TRUE(error.speaks());
      return error.id();
    }
    return "";
  }
  float FirstWeight() const {
    std::vector<float> own(static_cast<size_t>(flat_.own_elements()));
    flat_.ExportOwn(0, own.data());
    return own[0];
  }
  std::string DirOf(uint64_t step) const {
    return run_.Checkpoints() + "/step_000000" + std::to_string(step);
  }

  const monitor::RunDir run_ = {"/run"};
  Config config_;
  RecordingFileSystem disk_;
  std::unique_ptr<Comm> comm_;
  model::ModelSpec spec_;
  std::unique_ptr<model::ClipModel> model_;
  FlatParams flat_;
  RunningStatistics statistics_;
  std::vector<ckpt::StepEntry> damaged_;
};

TEST_F(ResumeTest, GoesOnFromWhatWasCommittedLast) {
  const auto resumed = ResumeWith(disk_);
  ASSERT_TRUE(resumed);
  EXPECT_EQ(resumed->state.step, 20u);
  EXPECT_EQ(FirstWeight(), 20.0f);
  EXPECT_THAT(damaged_, IsEmpty());
  EXPECT_EQ(ResumeWith(disk_, 10)->state.step, 10u);
  EXPECT_EQ(FirstWeight(), 10.0f);
}

// Every question of a resume fails once, in turn: the attempt fails, or the failure did not matter.
// It never starts from nothing, and never from the step before.
TEST_F(ResumeTest, WhatCannotBeToldFailsTheAttempt) {
  for (const int number : {EIO, ESTALE, EMFILE, EACCES, ENOSPC}) {
    uint64_t n = 1;
    for (;; ++n) {
      SCOPED_TRACE("errno " + std::to_string(number) + ", question " + std::to_string(n));
      ForgetfulFileSystem fs(disk_, n, number);
      std::optional<Resumed> resumed;
      try {
        resumed = ResumeWith(fs);
        EXPECT_TRUE(resumed);
      } catch (const AgreedError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kEnvironment) << error.what();
        EXPECT_EQ(error.id(), "E-IO");
      }
      EXPECT_EQ(resumed ? resumed->state.step : 20u, 20u);
      EXPECT_THAT(damaged_, IsEmpty());
      if (!fs.failed() || HasFailure()) break;
    }
    EXPECT_GT(n, 10u);
  }
}

TEST_F(ResumeTest, NorDoesThePrecisionChange) {
  Config config = config_;
  config.train.precision = "auto";
  for (uint64_t n = 1;; ++n) {
    ForgetfulFileSystem fs(disk_, n, EIO);
    try {
      EXPECT_EQ(ChoosePrecision(fs, *comm_, config, spec_, run_.Checkpoints()).name, "bf16");
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.id(), "E-IO");
      EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
    }
    if (!fs.failed() || HasFailure()) break;
  }
}

TEST_F(ResumeTest, EvidenceOfDamageGoesBackLoudly) {
  struct Case {
    const char* file;
    bool remove;  // else its last byte changes
  };
  const DiskState sound = disk_.state();
  for (const Case& one : {Case{"COMMIT", true}, Case{"COMMIT", false}, Case{"shard_00000.h5", true},
                          Case{"shard_00000.h5", false}}) {
    SCOPED_TRACE(std::string(one.file) + (one.remove ? " gone" : " changed"));
    RecordingFileSystem disk(sound);
    const std::string path = DirOf(20) + "/" + one.file;
    std::string bytes = disk.ReadAll(path);
    disk.RemoveFile(path);
    if (!one.remove) {
      for (size_t i = bytes.size() / 2; i < bytes.size(); ++i)
        bytes[i] = static_cast<char>(bytes[i] ^ 1);
      disk.WriteAtomically(path, bytes);
    }
    damaged_.clear();
    testing::internal::CaptureStderr();
    const auto resumed = ResumeWith(disk);
    const std::string said = testing::internal::GetCapturedStderr();
    ASSERT_TRUE(resumed);
    EXPECT_EQ(resumed->state.step, 10u);
    EXPECT_EQ(FirstWeight(), 10.0f);
    EXPECT_THAT(said, HasSubstr("E-CKPT-CORRUPT"));
    EXPECT_THAT(said, HasSubstr("the step before it is used"));
    ASSERT_EQ(damaged_.size(), 1u);
    EXPECT_EQ(damaged_[0].step, 20u);
    EXPECT_THAT(damaged_[0].damage, HasSubstr(path));
    EXPECT_THROW(ResumeWith(disk, 20), AgreedError);  // exactly this one, or none
  }
}

TEST_F(ResumeTest, DamageSeenWhileTheRestCannotBeReadIsNoReasonToStartAnew) {
  disk_.RemoveFile(DirOf(20) + "/COMMIT");
  FaultyFileSystem sick(disk_);
  sick.FailQuestions("step_00000010/shard", EIO, 1);
  EXPECT_EQ(ErrorOf(sick, ErrorKind::kEnvironment), "E-IO");
  disk_.RemoveFile(DirOf(10) + "/COMMIT");
  EXPECT_EQ(ErrorOf(disk_, ErrorKind::kEnvironment), "E-CKPT-CORRUPT");
}

TEST_F(ResumeTest, WhatIsGoneIsNotReplacedByLess) {
  disk_.RemoveTree(DirOf(20));
  EXPECT_EQ(ErrorOf(disk_, ErrorKind::kEnvironment), "E-CKPT-LOST");
  EXPECT_EQ(ResumeWith(disk_, 10)->state.step, 10u);  // asked for
  disk_.RemoveTree(run_.Checkpoints());
  EXPECT_EQ(ErrorOf(disk_, ErrorKind::kEnvironment), "E-CKPT-LOST");
  disk_.MakeDirs(run_.Checkpoints());  // as a mount point without its mount
  EXPECT_EQ(ErrorOf(disk_, ErrorKind::kEnvironment), "E-CKPT-LOST");
}

TEST_F(ResumeTest, NothingWasEverCommitted) {
  disk_.RemoveTree("/run");
  disk_.MakeDirs(run_.Attempt(1));
  EXPECT_FALSE(ResumeWith(disk_));
  disk_.MakeDirs(run_.Checkpoints() + "/step_00000010.tmp-1-aa");  // a save that died
  EXPECT_FALSE(ResumeWith(disk_));
}

}  // namespace
}  // namespace contrail::worker
