#include "checkpoint/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "tests/checkpoint/fixture.h"

namespace contrail {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class CheckpointCommand : public testing::Test {
 protected:
  CheckpointCommand() : run(scratch.path() + "/run"), world(ckpt::MakeWorld(3, 500, 4, 2)) {
    fs.MakeDirs(run + "/checkpoints");
  }

  // Exit code; stdout and stderr are kept.
  int Run(const std::vector<std::string>& words) {
    std::vector<std::string> args = {"checkpoint"};
    args.insert(args.end(), words.begin(), words.end());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    int code = -1;
    std::string thrown;
    try {
      code = RunCheckpointCommand(ParseArgs(CommandTable(), args));
    } catch (const Error& error) {
      code = error.exit_code();
      thrown = error.what();
    }
    out = testing::internal::GetCapturedStdout();
    err = testing::internal::GetCapturedStderr() + thrown;
    return code;
  }

  nlohmann::json Json() const { return nlohmann::json::parse(out); }
  std::string Step(uint64_t step) { return ckpt::SaveStep(fs, world, run + "/checkpoints", step); }

  FileSystem& fs = PosixFileSystem();
  ckpt::ScratchDir scratch;
  const std::string run;
  const ckpt::World world;
  std::string out, err;
};

TEST_F(CheckpointCommand, List) {
  EXPECT_EQ(Run({"list", run, "--json"}), 0);
  EXPECT_EQ(Json(), nlohmann::json::array());
  EXPECT_THAT(err, HasSubstr("no committed checkpoint yet"));
  Step(100);
  const std::string newest = Step(200);
  for (const std::string& path : {run, run + "/checkpoints", run + "/checkpoints/"}) {
    EXPECT_EQ(Run({"list", path, "--json"}), 0);
    ASSERT_EQ(Json().size(), 2u);
    EXPECT_EQ(Json()[0]["step"], 200);
    EXPECT_EQ(Json()[0]["loss"], 1.0 / 3.0 + 200);
    EXPECT_EQ(Json()[1]["step"], 100);
  }
  EXPECT_EQ(Run({"list", newest, "--json"}), 0);
  EXPECT_EQ(Json().size(), 1u);
  EXPECT_EQ(Run({"list", run}), 0);
  EXPECT_THAT(out, HasSubstr("step_00000200"));
  EXPECT_THAT(out, HasSubstr("200.3333"));
  fs.RemoveFile(newest + "/shard_00001.h5");
  EXPECT_EQ(Run({"list", run, "--json"}), 0);
  EXPECT_THAT(Json()[0]["error"].get<std::string>(), HasSubstr("E-CKPT-CORRUPT"));
  EXPECT_EQ(Run({"list", run + "/nothing"}), 2);
  EXPECT_THAT(err, HasSubstr("E-CKPT-MISSING"));
}

TEST_F(CheckpointCommand, Show) {
  const std::string dir = Step(100);
  EXPECT_EQ(Run({"show", run, "--json", "--tensors"}), 0);
  EXPECT_EQ(Json()["dir"], dir);
  EXPECT_EQ(Json()["parameters"], world.layout.num_elements);
  EXPECT_EQ(Json()["tensors"].size(), world.layout.tensors.size());
  EXPECT_EQ(Json()["buffers"].size(), world.buffers.size());
  EXPECT_EQ(Json()["buffers"][2]["shape"], nlohmann::json({2, 3}));
  EXPECT_EQ(Json()["weights_only"], false);
  EXPECT_EQ(Json()["shards"].size(), 2u);
  EXPECT_EQ(Json()["shards"][1]["ranks"], nlohmann::json({2, 3}));
  EXPECT_THAT(err, IsEmpty());
  EXPECT_EQ(Run({"show", dir, "--tensors"}), 0);
  EXPECT_THAT(out, HasSubstr(world.layout.tensors.back().name));
  EXPECT_THAT(out, HasSubstr("shard_00001.h5"));
  EXPECT_THAT(out, HasSubstr("visual.norm.0.running_mean [5] (buffer)"));
  EXPECT_EQ(Run({"show", scratch.path()}), 2);
}

TEST_F(CheckpointCommand, Verify) {
  Step(100);
  const std::string newest = Step(200);
  EXPECT_EQ(Run({"verify", run, "--json"}), 0);
  EXPECT_EQ(Json()["ok"], true);
  EXPECT_EQ(Json()["steps"].size(), 2u);
  const std::string shard = newest + "/shard_00000.h5";
  std::string bytes = fs.ReadAll(shard);
  bytes.back() = static_cast<char>(~bytes.back());
  fs.WriteAtomically(shard, bytes);
  EXPECT_EQ(Run({"verify", run, "--json"}), 2);
  EXPECT_EQ(Json()["ok"], false);
  EXPECT_EQ(Json()["steps"][0]["ok"], false);
  EXPECT_EQ(Json()["steps"][1]["ok"], true);
  EXPECT_THAT(err, HasSubstr("E-CKPT-CORRUPT: " + shard));
  EXPECT_EQ(Run({"verify", newest}), 2);
  EXPECT_THAT(out, HasSubstr("damaged"));
  fs.RemoveFile(newest + "/COMMIT");
  EXPECT_EQ(Run({"verify", newest}), 2);
  EXPECT_THAT(err, HasSubstr("E-CKPT-UNCOMMITTED"));
  EXPECT_EQ(Run({"verify", run}), 2);
  EXPECT_EQ(Run({"verify", scratch.path() + "/none"}), 2);
  EXPECT_THAT(err, HasSubstr("E-CKPT-MISSING"));
}

// In the place of an old step lies something that cannot be read as one.
TEST_F(CheckpointCommand, AStepThatCannotBeReadIsShownAndStays) {
  for (const uint64_t step : {200u, 300u, 400u}) Step(step);
  fs.WriteAtomically(run + "/checkpoints/step_00000100", "a file", ".new");
  EXPECT_EQ(Run({"list", run}), 0);
  EXPECT_THAT(out, HasSubstr("100  unusable: E-IO: "));
  EXPECT_THAT(out, HasSubstr("Not a directory"));
  EXPECT_EQ(Run({"verify", run}), 2);
  EXPECT_THAT(out, HasSubstr("unread   " + run + "/checkpoints/step_00000100"));
  EXPECT_EQ(Run({"prune", run, "--keep", "1"}), 75);
  EXPECT_THAT(err, HasSubstr("step_00000100 stays"));
  EXPECT_THAT(fs.List(run + "/checkpoints"),
              testing::ElementsAre("step_00000100", "step_00000400"));
}

TEST_F(CheckpointCommand, Prune) {
  for (const uint64_t step : {100u, 200u, 300u}) Step(step);
  EXPECT_EQ(Run({"prune", run, "--keep", "1", "--dry-run"}), 0);
  EXPECT_THAT(out, HasSubstr("would remove " + run + "/checkpoints/step_00000100"));
  EXPECT_EQ(ckpt::ListSteps(fs, run + "/checkpoints").size(), 3u);
  for (const char* bad : {"0", "-1", "x", ""}) {
    EXPECT_EQ(Run({"prune", run, "--keep", bad}), 2) << bad;
    EXPECT_THAT(err, HasSubstr("E-CLI-VALUE"));
  }
  EXPECT_EQ(Run({"prune", run}), 2);
  EXPECT_EQ(ckpt::ListSteps(fs, run + "/checkpoints").size(), 3u);
  EXPECT_EQ(Run({"prune", run, "--keep", "2"}), 0);
  EXPECT_EQ(ckpt::ListSteps(fs, run + "/checkpoints").size(), 2u);
  EXPECT_EQ(Run({"prune", run, "--keep", "2"}), 0);
  EXPECT_THAT(err, HasSubstr("nothing to remove"));
  EXPECT_EQ(Run({"prune", run + "/none", "--keep", "2"}), 2);
}

}  // namespace
}  // namespace contrail
