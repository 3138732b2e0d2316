// What an attempt leaves about its checkpoints.
#include "monitoring/damaged_step.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "common/error.h"
#include "common/recording_file_system.h"
#include "monitoring/first_commit.h"

namespace contrail::monitor {
namespace {

TEST(DamagedSteps, AreReadBackInOrder) {
  RecordingFileSystem fs;
  const RunDir run = {"/run"};
  EXPECT_TRUE(ReadDamagedSteps(run, 2, fs).empty());
  fs.MakeDirs("/run");
  AppendDamagedStep(run, 2, {46, "/run/checkpoints/step_00000046", "E-CKPT-CORRUPT: \"torn\"", 7.5},
                    fs);
  AppendDamagedStep(run, 2, {40, "/run/checkpoints/step_00000040", "gone", 8}, fs);
  // A crash tore the next one.
  const std::string path = run.DamagedSteps(2);
  fs.Open(path, FileSystem::Mode::kShared)->PWrite("{\"step\":3", 9, fs.FileSize(path));
  const auto steps = ReadDamagedSteps(run, 2, fs);
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0].step, 46u);
  EXPECT_EQ(steps[0].dir, "/run/checkpoints/step_00000046");
  EXPECT_EQ(steps[0].why, "E-CKPT-CORRUPT: \"torn\"");
  EXPECT_EQ(steps[0].time, 7.5);
  EXPECT_EQ(steps[1].step, 40u);
  EXPECT_TRUE(ReadDamagedSteps(run, 1, fs).empty());
}

TEST(FirstCommit, TellsThatARunHadCheckpoints) {
  RecordingFileSystem disk;
  const RunDir run = {"/run"};
  EXPECT_FALSE(AttemptThatCommitted(run, disk));
  disk.MakeDirs(run.Attempt(1));
  EXPECT_FALSE(AttemptThatCommitted(run, disk));
  WriteFirstCommit(run, 3, 10, disk);
  WriteFirstCommit(run, 3, 20, disk);  // the first one stays
  EXPECT_EQ(disk.ReadAll(run.FirstCommit(3)), "{\"step\":10}\n");
  EXPECT_EQ(AttemptThatCommitted(run, disk), 3);
  FaultyFileSystem sick(disk);
  sick.FailQuestions("attempts", EIO, 1);
  EXPECT_THROW(AttemptThatCommitted(run, sick), IoError);  // it cannot be told
}

}  // namespace
}  // namespace contrail::monitor
