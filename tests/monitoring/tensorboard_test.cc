// TensorBoard's own readers on what the recorder writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/monitoring/testing.h"

namespace contrail::monitor {
namespace {

nlohmann::json Read(const RunDir& run) {
  int status = 0;
  const std::string out =
      Capture(std::string(CONTRAIL_SOURCE_DIR) + "/.venv/bin/python " + CONTRAIL_SOURCE_DIR +
                  "/tests/monitoring/read_with_tensorboard.py " + run.Telemetry() + " 2>/dev/null",
              &status);
  EXPECT_EQ(status, 0);
  return nlohmann::json::parse(out);
}

void RunAttempt(const RunDir& run, int attempt, uint64_t resumed, uint64_t last) {
  const auto recorder = Recorder::Open({.run = run,
                                        .attempt = attempt,
                                        .resumed_step = resumed,
                                        .config_toml = "[run]\nseed = 3\n"});
  for (uint64_t step = resumed + 1; step <= last; ++step) {
    recorder->Record(MakeStep(step, 4, attempt));
    if (step % 10 == 0) {
      recorder->Record(CheckpointRecord{.step = step, .wall_time = 1.76e9, .write_seconds = 0.25});
    }
  }
}

TEST(TensorBoardTest, ReadsScalarsTextAndNoSupersededPoint) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 27);
  RunAttempt(scratch.run(), 2, 20, 23);
  RunAttempt(scratch.run(), 3, 20, 40);
  const nlohmann::json seen = Read(scratch.run());
  EXPECT_EQ(seen["config"], "```toml\n[run]\nseed = 3\n\n```");
  const auto& loss = seen["scalars"]["loss"];
  ASSERT_EQ(loss.size(), 40u) << "each step once";
  for (size_t i = 0; i < 40; ++i) {
    const uint64_t step = i + 1;
    const int attempt = step <= 20 ? 1 : 3;
    EXPECT_EQ(loss[i][0], step);
    EXPECT_EQ(loss[i][1].get<float>(), static_cast<float>(MakeStep(step, 4, attempt).loss));
  }
  EXPECT_EQ(seen["scalars"]["phase_seconds/forward/max"].size(), 40u);
  EXPECT_EQ(seen["scalars"]["checkpoint/write_seconds"].size(), 4u);
  EXPECT_EQ(seen["version"], 2);
  EXPECT_LT(seen["scalars"].size(), 40u) << "no tag per rank";
  // Every record of every file, by the plain loader.
  EXPECT_EQ(seen["records"], (2 + 27 + 2 + 1) + (3 + 3 + 1) + (3 + 20 + 2 + 1));
}

TEST(TensorBoardTest, ReadsAFileThatWasCut) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 9);
  const std::string path =
      scratch.run().Telemetry() + "/" + PosixFileSystem().List(scratch.run().Telemetry())[0];
  const std::string bytes = ReadFile(path);
  WriteFile(path, bytes.substr(0, bytes.size() - 60));
  const nlohmann::json seen = Read(scratch.run());
  EXPECT_EQ(seen["scalars"]["loss"].size(), 8u);
}

}  // namespace
}  // namespace contrail::monitor
