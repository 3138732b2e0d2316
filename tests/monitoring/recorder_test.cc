#include "monitoring/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "common/clock.h"
#include "common/error.h"
#include "common/pass_through_file_system.h"
#include "monitoring/wire/codec.h"
#include "tests/monitoring/testing.h"

namespace contrail::monitor {
namespace {

std::vector<std::string> Files(const RunDir& run) {
  return PosixFileSystem().List(run.Telemetry());
}

std::vector<TelemetryEvent> Events(const std::string& path) {
  const std::string bytes = ReadFile(path);
  const FrameScan scan = ScanFrames(bytes);
  EXPECT_EQ(scan.tail, Tail::kClean);
  std::vector<TelemetryEvent> events;
  for (const std::string_view payload : scan.payloads) events.push_back(*DecodeEvent(payload));
  return events;
}

// A disk that can be made slow or full.
class Faulty : public PassThroughFileSystem {
 public:
  Faulty() : PassThroughFileSystem(PosixFileSystem()) {}
  std::atomic<bool> full{false};
  mutable std::timed_mutex gate;  // held: writes wait
  mutable std::atomic<int> syncs{0};

 private:
  void Before(Act, const std::string&, const char* doing) const override {
    if (std::string_view(doing) == "fsync") ++syncs;
  }
  void PassWrite(WritableFile& file, const std::string& path, Write write, const void* data,
                 size_t size, uint64_t offset) const override {
    const std::lock_guard wait(gate);
    (file.*write)(data, full ? size / 2 : size, offset);
    if (full) throw EnvironmentError("E-IO", path, "could not write: No space left on device");
  }
};

TEST(RecorderTest, WritesOpeningRecordsAndCloses) {
  ScratchRun scratch;
  Faulty disk;
  Recorder::Options options{.run = scratch.run(),
                            .attempt = 2,
                            .resumed_step = 10,
                            .config_toml = "[run]\nseed = 3\n",
                            .total_steps = 100,
                            .samples_per_epoch = 60000};
  {
    const auto recorder = Recorder::Open(options, disk);
    for (uint64_t step = 11; step <= 20; ++step) recorder->Record(MakeStep(step));
    recorder->Record(CheckpointRecord{.step = 20, .wall_time = 2, .bytes = 99});
    EXPECT_EQ(recorder->dropped(), 0u);
  }
  EXPECT_EQ(disk.syncs, 1);
  const auto files = Files(scratch.run());
  ASSERT_EQ(files.size(), 1u);
  EXPECT_THAT(files[0], testing::MatchesRegex("events\\.out\\.tfevents\\.[0-9]+\\.attempt_2\\."
                                              "node_0"));
  const auto events = Events(scratch.run().Telemetry() + "/" + files[0]);
  ASSERT_EQ(events.size(), 3u + 10u + 1u + 1u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_TRUE(events[1].start);
  EXPECT_EQ(events[1].step, 11u);
  ASSERT_TRUE(events[2].header);
  EXPECT_EQ(events[2].header->attempt, 2);
  EXPECT_EQ(events[2].header->resumed_step, 10u);
  EXPECT_EQ(events[2].header->config_toml, options.config_toml);
  EXPECT_EQ(events[2].header->total_steps, 100u);
  EXPECT_EQ(events[3].step_record->loss, MakeStep(11).loss);
  EXPECT_EQ(events[13].checkpoint->bytes, 99u);
  EXPECT_TRUE(events[14].health->closed);
}

TEST(RecorderTest, AFirstAttemptPurgesNothing) {
  ScratchRun scratch;
  Recorder::Open({.run = scratch.run()}).reset();
  for (const auto& event : Events(scratch.run().Telemetry() + "/" + Files(scratch.run())[0])) {
    EXPECT_FALSE(event.start);
  }
}

TEST(RecorderTest, FileNamesSortInTheOrderOfAttempts) {
  ScratchRun scratch;
  for (int attempt : {1, 2, 10}) Recorder::Open({.run = scratch.run(), .attempt = attempt}).reset();
  const auto files = Files(scratch.run());
  ASSERT_EQ(files.size(), 3u);
  EXPECT_THAT(files[0], testing::EndsWith(".attempt_1.node_0"));
  EXPECT_THAT(files[1], testing::EndsWith(".attempt_2.node_0"));
  EXPECT_THAT(files[2], testing::EndsWith(".attempt_10.node_0"));
}

TEST(RecorderTest, RecordsReachTheFileWithinTwoSecondsWithoutClosing) {
  ScratchRun scratch;
  const auto recorder = Recorder::Open({.run = scratch.run()});
  recorder->Record(MakeStep(1));
  const std::string path = scratch.run().Telemetry() + "/" + Files(scratch.run())[0];
  const double start = SystemClock().Monotonic();
  while (Events(path).back().step != 1 && SystemClock().Monotonic() < start + 5) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LT(SystemClock().Monotonic() - start, 2.0);
  EXPECT_EQ(Events(path).back().step, 1u);
}

TEST(RecorderTest, FlushedRecordsAreOnDiskAndAStuckDiskIsNotWaitedForLonger) {
  ScratchRun scratch;
  Faulty disk;
  // Destroyed after the lock below is given back: closing needs the disk.
  const auto recorder = Recorder::Open({.run = scratch.run()}, disk);
  const std::string path = scratch.run().Telemetry() + "/" + Files(scratch.run())[0];
  for (uint64_t step = 1; step <= 3; ++step) {
    recorder->Record(MakeStep(step));
    recorder->Flush(10);
    EXPECT_EQ(Events(path).back().step, step);
    EXPECT_EQ(disk.syncs, static_cast<int>(step));
  }
  const std::lock_guard stuck(disk.gate);
  recorder->Record(MakeStep(4));
  const double start = SystemClock().Monotonic();
  recorder->Flush(0.2);
  EXPECT_NEAR(SystemClock().Monotonic() - start, 0.2, 0.15);
  EXPECT_EQ(Events(path).back().step, 3u);
}

TEST(RecorderTest, AStuckDiskNeverBlocksAStepAndLossesAreCounted) {
  ScratchRun scratch;
  Faulty disk;
  auto recorder = Recorder::Open({.run = scratch.run(), .queue = 64}, disk);
  uint64_t sent = 0;
  double slowest = 0;
  {
    const std::lock_guard stuck(disk.gate);
    const double start = SystemClock().Monotonic();
    while (SystemClock().Monotonic() < start + 1.5) {  // longer than a batch period
      const double before = SystemClock().Monotonic();
      recorder->Record(MakeStep(++sent));
      slowest = std::max(slowest, SystemClock().Monotonic() - before);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
  EXPECT_LT(slowest, 0.1);  // the disk was stuck for 1.5 s; the rest is the scheduler's
  const uint64_t dropped = recorder->dropped();
  EXPECT_GE(dropped, sent - 2 * 64);  // one batch at the disk, one in the queue
  EXPECT_LT(dropped, sent);
  recorder.reset();
  uint64_t written = 0;
  std::optional<Health> health;
  for (const auto& event : Events(scratch.run().Telemetry() + "/" + Files(scratch.run())[0])) {
    written += event.step_record.has_value();
    if (event.health) health = event.health;
  }
  EXPECT_EQ(written + dropped, sent);
  ASSERT_TRUE(health);
  EXPECT_EQ(health->dropped, dropped);
  EXPECT_TRUE(health->closed);
}

TEST(RecorderTest, AFullDiskCondemnsTheFileAndANewOneGoesOn) {
  ScratchRun scratch;
  Faulty disk;
  auto recorder = Recorder::Open({.run = scratch.run(), .reopen_seconds = 0.1}, disk);
  const std::string first = scratch.run().Telemetry() + "/" + Files(scratch.run())[0];
  disk.full = true;
  for (uint64_t step = 1; step <= 10; ++step) recorder->Record(MakeStep(step));
  for (int i = 0; i < 300 && recorder->dropped() < 10; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(recorder->dropped(), 10u);
  const uint64_t torn = PosixFileSystem().FileSize(first);
  disk.full = false;
  std::this_thread::sleep_for(std::chrono::milliseconds(120));
  recorder->Record(MakeStep(11));
  recorder.reset();
  EXPECT_EQ(PosixFileSystem().FileSize(first), torn) << "never written again";
  const auto files = Files(scratch.run());
  ASSERT_EQ(files.size(), 2u);
  const auto events = Events(scratch.run().Telemetry() + "/" + files[1]);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_TRUE(events[1].header && events[1].header->continued);
  EXPECT_EQ(events[2].step, 11u);
  EXPECT_EQ(events[3].health->dropped, 10u);
}

TEST(RecorderTest, OpeningWhereNothingCanBeWrittenIsAnError) {
  try {
    Recorder::Open({.run = RunDir{"/proc/nowhere"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
    EXPECT_EQ(error.id(), "E-IO");
  }
}

TEST(RecorderTest, RecordIsCheap) {
  ScratchRun scratch;
  for (const int ranks : {4, 512}) {
    const auto recorder = Recorder::Open({.run = scratch.run(), .queue = 1 << 16});
    const StepRecord record = MakeStep(1, ranks);
    constexpr int kCalls = 2000;
    const double start = SystemClock().Monotonic();
    for (int i = 0; i < kCalls; ++i) recorder->Record(record);
    const double each = (SystemClock().Monotonic() - start) / kCalls;
    RecordProperty("microseconds_" + std::to_string(ranks), std::to_string(each * 1e6));
    std::printf("Record() with %d ranks: %.2f us\n", ranks, each * 1e6);
    EXPECT_LT(each, 1e-3);
    EXPECT_EQ(recorder->dropped(), 0u);
  }
}

}  // namespace
}  // namespace contrail::monitor
