// What a run writes down about the data it is trained on.
#include "monitoring/replaced.h"

#include <gmock/gmock.h>

#include "common/recording_file_system.h"
#include "monitoring/trained_on.h"
#include "monitoring/viewer/json.h"
#include "monitoring/viewer/page.h"
#include "tests/monitoring/synthetic_run.h"

namespace contrail::monitor {
namespace {

using testing::HasSubstr;
using testing::Not;

ReplacedSample At(uint64_t position, uint64_t with) {
  return {.step = 3,
          .epoch = 1,
          .position = position,
          .sample = 17,
          .key = "a.tar/\"1\xff",
          .with = with,
          .with_key = "b.tar/2",
          .tries = 2,
          .unreadable = true,
          .why = "E-IO: /d/a.tar: could not read at byte 7",
          .data = "f00d",
          .attempt = 2,
          .time = 7.5};
}

TEST(Replaced, IsReadBackByPlaceAndTheLastLineHolds) {
  RecordingFileSystem fs;
  const RunDir run = {"/run"};
  fs.MakeDirs("/run");
  EXPECT_TRUE(ReadReplaced(run, fs).empty());
  AppendReplaced(run, {At(9, 5), At(4, 6)}, fs);
  AppendReplaced(run, {At(9, 8)}, fs);
  fs.Open(run.Replaced(), FileSystem::Mode::kShared)
      ->PWrite("{\"step\":3,\"pos", 14, fs.FileSize(run.Replaced()));
  AppendReplaced(run, {At(5, 1)}, fs);  // closes the torn line
  const std::vector<ReplacedSample> read = ReadReplaced(run, fs);
  ASSERT_EQ(read.size(), 3u);
  EXPECT_EQ(read[0].position, 4u);
  EXPECT_EQ(read[1].position, 5u);
  EXPECT_EQ(read[2].position, 9u);
  EXPECT_EQ(read[2].with, 8u);
  EXPECT_EQ(read[2].sample, 17u);
  EXPECT_EQ(read[2].step, 3u);
  EXPECT_EQ(read[2].epoch, 1u);
  EXPECT_EQ(read[2].with_key, "b.tar/2");
  EXPECT_EQ(read[2].tries, 2);
  EXPECT_TRUE(read[2].unreadable);
  EXPECT_EQ(read[2].why, At(0, 0).why);
  EXPECT_EQ(read[2].data, "f00d");
  EXPECT_EQ(read[2].attempt, 2);
  EXPECT_EQ(read[2].time, 7.5);
}

TEST(TrainedOn, IsReadBack) {
  RecordingFileSystem fs;
  const RunDir run = {"/run"};
  fs.MakeDirs("/run");
  EXPECT_FALSE(ReadTrainedOn(run, 2, fs));
  EXPECT_FALSE(ReadShards(run, "f00d", fs));
  WriteTrainedOn(run, 2,
                 {.resumed_step = 40,
                  .world_size = 4,
                  .seed = 3,
                  .global_batch_size = 64,
                  .shuffle_window = 100,
                  .data = "f00d",
                  .consumed = ~uint64_t{0} - 5,
                  .consumed_from = 10,
                  .replaced = 7},
                 {{"/d/a.tar", 1000, 10}, {"/d/b.tar", 2000, 20}}, fs);
  const auto on = ReadTrainedOn(run, 2, fs);
  ASSERT_TRUE(on);
  EXPECT_EQ(on->resumed_step, 40u);
  EXPECT_EQ(on->world_size, 4);
  EXPECT_EQ(on->seed, 3u);
  EXPECT_EQ(on->global_batch_size, 64u);
  EXPECT_EQ(on->shuffle_window, 100u);
  EXPECT_EQ(on->data, "f00d");
  EXPECT_EQ(on->consumed, ~uint64_t{0} - 5);
  EXPECT_EQ(on->consumed_from, 10u);
  EXPECT_EQ(on->replaced, 7u);
  const auto shards = ReadShards(run, "f00d", fs);
  ASSERT_TRUE(shards);
  ASSERT_EQ(shards->size(), 2u);
  EXPECT_EQ((*shards)[1].name, "/d/b.tar");
  EXPECT_EQ((*shards)[1].bytes, 2000u);
  EXPECT_EQ((*shards)[1].samples, 20u);
}

TEST(Replaced, IsShownWhereThereIsAny) {
  ScratchRun scratch;
  MakeSyntheticRun(scratch.run());
  const auto status = [&] { return ReadStatus(scratch.run(), RunStore(scratch.run())); };
  EXPECT_THAT(RenderPage(status()), Not(HasSubstr("replaced")));
  EXPECT_THAT(RenderJson(status()), HasSubstr("\"replaced\":{\"samples\":0,\"newest\":\"\"}"));
  AppendReplaced(scratch.run(), {At(9, 5)});
  {
    const auto recorder =
        Recorder::Open({.run = scratch.run(), .attempt = 3, .resumed_step = 50, .total_steps = 80});
    StepRecord record = MakeStep(51);
    record.replaced = 12;
    recorder->Record(record);
  }
  EXPECT_THAT(RenderPage(status()),
              testing::AllOf(HasSubstr("12 samples, 0.092 % of those seen"),
                             HasSubstr("newest: a.tar/"), HasSubstr("could not read at byte 7")));
  EXPECT_THAT(RenderJson(status()), HasSubstr("\"replaced\":{\"samples\":12,\"newest\":\"a.tar/"));
  const RunStore store(scratch.run());
  EXPECT_EQ(store.Series(*FindMetric("replaced")).back().value, 12);
}

}  // namespace
}  // namespace contrail::monitor
