#include "monitoring/wire/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/monitoring/testing.h"

namespace contrail::monitor {
namespace {

TelemetryEvent StepEvent(const StepRecord& record) {
  TelemetryEvent event;
  event.wall_time = record.wall_time;
  event.step = record.step;
  event.step_record = record;
  event.scalars = {{"loss", static_cast<float>(record.loss)}};
  return event;
}

void ExpectSameBits(double a, double b) { EXPECT_EQ(std::memcmp(&a, &b, sizeof a), 0) << a << b; }

TEST(CodecTest, StepRecordsSurviveExactly) {
  StepRecord record = MakeStep(1234, 3);
  record.loss = 0.1 + 0.2;
  record.lr = std::numeric_limits<double>::denorm_min();
  record.logit_scale = -0.0;
  record.grad_norm = std::numeric_limits<double>::infinity();
  record.accuracy_image_to_text = std::numeric_limits<double>::quiet_NaN();
  record.samples_seen = std::numeric_limits<uint64_t>::max();
  record.skipped_steps = 3;
  record.loss_scale = 32768;
  record.replaced = uint64_t{1} << 40;
  record.consumed = 0xfedcba9876543210;
  record.ranks[1].checkpoint_stall = 0.25f;
  record.late = {{.rank = 2,
                  .operation = Operation::kReduceScatter,
                  .ordinal = 12,
                  .collective = 1L << 40,
                  .seconds = 0.04f}};
  const auto event = DecodeEvent(EncodeEvent(StepEvent(record)));
  ASSERT_TRUE(event && event->step_record);
  const StepRecord& back = *event->step_record;
  EXPECT_EQ(back.step, record.step);
  EXPECT_EQ(back.epoch, record.epoch);
  EXPECT_EQ(back.samples_seen, record.samples_seen);
  EXPECT_EQ(back.world_size, record.world_size);
  EXPECT_EQ(back.skipped_steps, record.skipped_steps);
  EXPECT_EQ(back.loss_scale, record.loss_scale);
  EXPECT_EQ(back.replaced, record.replaced);
  EXPECT_EQ(back.consumed, record.consumed);
  ExpectSameBits(back.wall_time, record.wall_time);
  ExpectSameBits(back.loss, record.loss);
  ExpectSameBits(back.lr, record.lr);
  ExpectSameBits(back.logit_scale, record.logit_scale);
  ExpectSameBits(back.grad_norm, record.grad_norm);
  ExpectSameBits(back.accuracy_image_to_text, record.accuracy_image_to_text);
  ExpectSameBits(back.samples_per_second, record.samples_per_second);
  ASSERT_EQ(back.late.size(), 1u);
  EXPECT_EQ(back.late[0].rank, 2);
  EXPECT_EQ(back.late[0].operation, Operation::kReduceScatter);
  EXPECT_EQ(back.late[0].ordinal, 12);
  EXPECT_EQ(back.late[0].collective, uint64_t{1} << 40);
  EXPECT_EQ(back.late[0].seconds, 0.04f);
  ASSERT_EQ(back.ranks.size(), record.ranks.size());
  for (size_t r = 0; r < back.ranks.size(); ++r) {
    EXPECT_EQ(std::memcmp(&back.ranks[r], &record.ranks[r], sizeof(StepTimes)), 0) << r;
  }
}

// A count costs five bytes and could ask for 42 MB each time.
TEST(CodecTest, ACountOfRanksWithoutTimesAsksForNothing) {
  StepRecord record = MakeStep(1, 1 << 20);
  for (StepTimes& times : record.ranks) times = {};
  const std::string encoded = EncodeEvent(StepEvent(record));
  EXPECT_LT(encoded.size(), 500u);
  const auto event = DecodeEvent(encoded);
  ASSERT_TRUE(event && event->step_record);
  EXPECT_TRUE(event->step_record->ranks.empty());
}

TEST(CodecTest, OtherRecordsSurvive) {
  TelemetryEvent event;
  event.wall_time = 1.5;
  event.step = 40;
  event.checkpoint = CheckpointRecord{
      .step = 40, .wall_time = 1.5, .stall_seconds = 0.01, .write_seconds = 3.7, .bytes = 1 << 30};
  event.header = FileHeader{.attempt = 3,
                            .node = 2,
                            .resumed_step = 39,
                            .total_steps = 400,
                            .samples_per_epoch = 60000,
                            .config_toml = "[run]\nseed = 1\n",
                            .continued = true};
  event.health = Health{.dropped = 5, .closed = true};
  event.start = true;
  event.file_version = "brain.Event:2";
  const auto back = DecodeEvent(EncodeEvent(event));
  ASSERT_TRUE(back && back->checkpoint && back->header && back->health);
  EXPECT_EQ(back->checkpoint->step, 40u);
  EXPECT_EQ(back->checkpoint->wall_time, 1.5);
  EXPECT_EQ(back->checkpoint->stall_seconds, 0.01);
  EXPECT_EQ(back->checkpoint->write_seconds, 3.7);
  EXPECT_EQ(back->checkpoint->bytes, 1u << 30);
  EXPECT_EQ(back->header->attempt, 3);
  EXPECT_EQ(back->header->node, 2);
  EXPECT_EQ(back->header->resumed_step, 39u);
  EXPECT_EQ(back->header->total_steps, 400u);
  EXPECT_EQ(back->header->samples_per_epoch, 60000u);
  EXPECT_EQ(back->header->config_toml, "[run]\nseed = 1\n");
  EXPECT_TRUE(back->header->continued);
  EXPECT_EQ(back->health->dropped, 5u);
  EXPECT_TRUE(back->health->closed);
  EXPECT_TRUE(back->start);
  EXPECT_FALSE(back->step_record);
}

TEST(CodecTest, UnknownFieldsAreSkipped) {
  std::string payload = EncodeEvent(StepEvent(MakeStep(7)));
  payload += std::string("\xd2\x3e\x03xyz", 6);  // field 1002, three bytes
  payload += std::string("\xd8\x3e\x2a", 3);     // field 1003, varint 42
  const auto event = DecodeEvent(payload);
  ASSERT_TRUE(event && event->step_record);
  EXPECT_EQ(event->step_record->step, 7u);
  EXPECT_FALSE(DecodeEvent("\xff\xff not an event"));
}

std::string ThreeFrames(std::vector<size_t>* ends) {
  std::string bytes;
  for (uint64_t step = 1; step <= 3; ++step) {
    AppendFrame(bytes, EncodeEvent(StepEvent(MakeStep(step))));
    ends->push_back(bytes.size());
  }
  return bytes;
}

TEST(CodecTest, TornAtEveryByteKeepsTheWholeRecords) {
  std::vector<size_t> ends = {0};
  const std::string bytes = ThreeFrames(&ends);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const FrameScan scan = ScanFrames(std::string_view(bytes).substr(0, cut));
    const auto whole =
        static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), cut) - ends.begin() - 1);
    ASSERT_EQ(scan.payloads.size(), whole) << cut;
    ASSERT_EQ(scan.consumed, ends[whole]) << cut;
    ASSERT_EQ(scan.tail, cut == ends[whole] ? Tail::kClean : Tail::kTorn) << cut;
    // Going on from there once the rest has arrived gives the rest.
    const FrameScan rest = ScanFrames(std::string_view(bytes).substr(scan.consumed));
    ASSERT_EQ(rest.payloads.size(), 3 - whole);
    ASSERT_EQ(rest.tail, Tail::kClean);
  }
}

TEST(CodecTest, ZerosAtTheTailAreTornNotCorrupt) {
  std::vector<size_t> ends = {0};
  const std::string bytes = ThreeFrames(&ends);
  for (size_t cut = ends[2]; cut < bytes.size(); ++cut) {
    std::string zeroed = bytes.substr(0, cut) + std::string(bytes.size() - cut + 4096, '\0');
    const FrameScan scan = ScanFrames(zeroed);
    ASSERT_EQ(scan.consumed, ends[2]) << cut;
    ASSERT_EQ(scan.tail, Tail::kTorn) << cut;
  }
}

TEST(CodecTest, AFlippedBitInTheMiddleIsCorruptAndNothingAfterItIsBelieved) {
  std::vector<size_t> ends = {0};
  const std::string bytes = ThreeFrames(&ends);
  for (size_t at = ends[1]; at < ends[2]; ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    const FrameScan scan = ScanFrames(damaged);
    ASSERT_EQ(scan.consumed, ends[1]) << at;
    ASSERT_EQ(scan.payloads.size(), 1u) << at;
    ASSERT_EQ(scan.tail, Tail::kCorrupt) << at;
  }
}

TEST(CodecTest, FramingIsTensorBoards) {
  // The frame of the payload "abc", as TensorFlow's record writer makes it.
  std::string bytes;
  AppendFrame(bytes, "abc");
  int status = 0;
  const std::string expected =
      Capture(std::string(CONTRAIL_SOURCE_DIR) +
                  "/.venv/bin/python -c \"import struct\n"
                  "from tensorboard.summary.writer.record_writer import RecordWriter\n"
                  "import io, sys\n"
                  "out = io.BytesIO(); RecordWriter(out).write(b'abc')\n"
                  "sys.stdout.buffer.write(out.getvalue())\"",
              &status);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(bytes, expected);
}

TEST(CodecTest, TheExampleOfTheFormatsPageIsTrue) {
  TelemetryEvent event;
  event.wall_time = 1.5;
  event.step = 3;
  event.scalars = {{"loss", 0.5f}};
  event.step_record =
      StepRecord{.step = 3, .wall_time = 1.5, .loss = 0.5, .lr = 0.25, .accuracy_image_to_text = 0};
  std::string bytes;
  AppendFrame(bytes, EncodeEvent(event));
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    char hex[4];
    std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(bytes[i]));
    text += std::string(i == 0 ? "" : i % 16 == 0 ? "\n" : " ") + hex;
  }
  const std::string page = ReadFile(std::string(CONTRAIL_SOURCE_DIR) + "/docs/telemetry-format.md");
  EXPECT_THAT(page, testing::HasSubstr("```\n" + text + "\n```"));
}

}  // namespace
}  // namespace contrail::monitor
