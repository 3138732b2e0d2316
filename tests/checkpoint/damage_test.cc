// Damaged and missing files: a named error, and the step before is used.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "checkpoint/format.h"
#include "checkpoint/prune.h"
#include "common/error.h"
#include "common/hash.h"
#include "common/recording_file_system.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kDir = "/run/checkpoints";
constexpr const char* kNewest = "/run/checkpoints/step_00000200";

void Overwrite(FileSystem& fs, const std::string& path, const std::string& text) {
  auto file = fs.Open(path, FileSystem::Mode::kTruncate);
  file->PWrite(text.data(), text.size(), 0);
  file->Close();
}

void FlipBit(FileSystem& fs, const std::string& path, uint64_t byte) {
  std::string text = fs.ReadAll(path);
  text[byte] = static_cast<char>(text[byte] ^ 0x10);
  Overwrite(fs, path, text);
}

std::string ErrorOf(const std::function<void()>& action, const std::string& id) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), id) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error where " << id << " was expected";
  return "";
}

class Damage : public testing::Test {
 protected:
  Damage() : world(MakeWorld(3, 2000, 5, 2)) {
    fs.MakeDirs("/run");
    SaveStep(fs, world, kDir, 100);
    SaveStep(fs, world, kDir, 200);
  }

  // The newest step is refused with a message holding `text`, and step 100 is used instead.
  void ExpectFallback(const std::string& text, bool verify = true) {
    std::vector<std::string> problems;
    const auto reader = OpenNewestUsable(fs, "/run", verify, &problems);
    ASSERT_NE(reader, nullptr);
    EXPECT_EQ(reader->state().step, 100u);
    EXPECT_TRUE(ReadsBackAs(*reader, 100, 3));
    ASSERT_EQ(problems.size(), 1u);
    EXPECT_THAT(problems[0], HasSubstr(text));
    EXPECT_THAT(problems[0], HasSubstr("E-CKPT-CORRUPT"));
    EXPECT_THAT(problems[0], HasSubstr(kNewest));
  }

  RecordingFileSystem fs;
  const World world;
};

TEST_F(Damage, MissingShard) {
  fs.RemoveFile(std::string(kNewest) + "/shard_00001.h5");
  EXPECT_THAT(ErrorOf([&] { StepReader::Open(fs, kNewest); }, "E-CKPT-CORRUPT"),
              HasSubstr("shard_00001.h5: is missing"));
  ErrorOf([&] { VerifyStep(fs, "/run"); }, "E-CKPT-CORRUPT");
  ExpectFallback("shard_00001.h5", false);
}

TEST_F(Damage, TruncatedAndGrownShard) {
  const std::string path = std::string(kNewest) + "/shard_00000.h5";
  const std::string text = fs.ReadAll(path);
  for (const size_t size : {size_t{0}, size_t{1}, text.size() - 1, text.size() + 1}) {
    std::string changed = text;
    changed.resize(size);
    Overwrite(fs, path, changed);
    EXPECT_THAT(ErrorOf([&] { StepReader::Open(fs, kNewest); }, "E-CKPT-CORRUPT"),
                HasSubstr("shard_00000.h5: has " + std::to_string(size) + " bytes"));
    ExpectFallback("shard_00000.h5", false);
  }
}

TEST_F(Damage, AnyFlippedBitOfAnyFileIsFound) {
  uint64_t flips = 0;
  for (const std::string& name : fs.List(kNewest)) {
    const std::string path = std::string(kNewest) + "/" + name;
    const uint64_t size = fs.FileSize(path);
    for (uint64_t byte = 0; byte < size; byte += 1 + size / 150) {
      FlipBit(fs, path, byte);
      ErrorOf([&] { VerifyStep(fs, kNewest); }, "E-CKPT-CORRUPT");
      FlipBit(fs, path, byte);
      ++flips;
    }
  }
  VerifyStep(fs, kNewest);
  EXPECT_GT(flips, 500u);
}

TEST_F(Damage, FlippedPayloadNamesFileDatasetAndBlock) {
  const Manifest manifest = DecodeManifest(fs.ReadAll(std::string(kNewest) + "/COMMIT"), "COMMIT");
  const ShardInfo& shard = manifest.shards[1];
  const RankPart& part = shard.parts[0];
  ASSERT_GT(part.elements(), 0u);
  FlipBit(fs, std::string(kNewest) + "/" + shard.file, part.offset[1]);
  const std::string message =
      ErrorOf([&] { ReadsBackAs(*StepReader::Open(fs, kNewest), 200, 1); }, "E-CKPT-CORRUPT");
  EXPECT_THAT(message, HasSubstr(std::string(kNewest) + "/shard_00001.h5"));
  EXPECT_THAT(message, HasSubstr(DatasetPath(part.rank, 1) + " block 0"));
  // Reads that do not touch the block are not disturbed.
  std::vector<float> values(world.layout.num_elements);
  StepReader::Open(fs, kNewest)->Read(0, {0, values.size()}, values.data());
  EXPECT_EQ(values[7], ValueOf(200, 0, 7));
  ExpectFallback("block 0");
}

TEST_F(Damage, BuffersAreCheckedWhenTheStepIsOpened) {
  const std::string path = std::string(kNewest) + "/buffers.h5";
  const Manifest manifest = DecodeManifest(fs.ReadAll(std::string(kNewest) + "/COMMIT"), "COMMIT");
  for (const uint64_t byte : {manifest.buffers.arrays[1].offset, uint64_t{0}}) {
    FlipBit(fs, path, byte);
    EXPECT_THAT(ErrorOf([&] { StepReader::Open(fs, kNewest); }, "E-CKPT-CORRUPT"),
                HasSubstr("buffers.h5: is damaged"));
    ExpectFallback("buffers.h5", false);
    FlipBit(fs, path, byte);
  }
  const std::string bytes = fs.ReadAll(path);
  Overwrite(fs, path, bytes.substr(1));
  ExpectFallback("buffers.h5: has " + std::to_string(bytes.size() - 1) + " bytes", false);
  fs.RemoveFile(path);
  ExpectFallback("buffers.h5: is missing", false);
}

TEST_F(Damage, CommitTornAtAnyByteIsNoCheckpoint) {
  const std::string path = std::string(kNewest) + "/COMMIT";
  const std::string text = fs.ReadAll(path);
  for (size_t size = 0; size < text.size(); size += 1 + size / 40) {
    Overwrite(fs, path, text.substr(0, size));
    const auto steps = ListSteps(fs, kDir);
    ASSERT_EQ(steps.size(), 1u) << "torn at " << size;
    EXPECT_EQ(steps[0].step, 100u);
    EXPECT_THAT(ErrorOf([&] { StepReader::Open(fs, kNewest); }, "E-CKPT-CORRUPT"),
                HasSubstr("COMMIT: torn"));
  }
  ExpectFallback("COMMIT: torn or damaged");
}

TEST_F(Damage, CommitMissing) {
  fs.RemoveFile(std::string(kNewest) + "/COMMIT");
  ErrorOf([&] { StepReader::Open(fs, kNewest); }, "E-CKPT-UNCOMMITTED");
  EXPECT_EQ(StepReader::Open(fs, "/run")->state().step, 100u);
  ExpectFallback("COMMIT: is missing");
}

TEST_F(Damage, NoUsableStepAtAll) {
  fs.RemoveFile("/run/checkpoints/step_00000100/COMMIT");
  fs.RemoveFile(std::string(kNewest) + "/COMMIT");
  std::vector<std::string> problems;
  EXPECT_EQ(OpenNewestUsable(fs, "/run", true, &problems), nullptr);
  EXPECT_EQ(problems.size(), 2u);
  ErrorOf([&] { StepReader::Open(fs, "/run"); }, "E-CKPT-MISSING");
  EXPECT_TRUE(PlanPrune(fs, kDir, {.keep_last = 1, .attempt = 9})
                  .removed.empty());  // nothing usable: nothing is removed
}

TEST_F(Damage, MissingPlaces) {
  ErrorOf([&] { StepReader::Open(fs, "/nowhere"); }, "E-CKPT-MISSING");
  ErrorOf([&] { StepReader::Open(fs, "/"); }, "E-CKPT-MISSING");
  EXPECT_TRUE(ListSteps(fs, "/nowhere").empty());
  EXPECT_TRUE(ListSteps(fs, "/run").empty());
  std::vector<std::string> problems;
  EXPECT_EQ(OpenNewestUsable(fs, "/nowhere", false, &problems), nullptr);
  EXPECT_TRUE(problems.empty());
}

// A step trained again because the first copy is damaged is bit-equal: the sound copy must win.
TEST_F(Damage, DamagedStepSavedAgainIsReplaced) {
  FlipBit(fs, std::string(kNewest) + "/shard_00000.h5", 3);
  ErrorOf([&] { VerifyStep(fs, kNewest); }, "E-CKPT-CORRUPT");
  EXPECT_EQ(SaveStep(fs, world, kDir, 200, 1), kNewest);
  VerifyStep(fs, kNewest);
  EXPECT_THAT(fs.List(kDir),
              ElementsAre("step_00000100", "step_00000200", "step_00000200.superseded-1"));
}

TEST_F(Damage, SameLineageKeepsTheOldOne) {
  const auto old = StepReader::Open(fs, kNewest);
  // Another attempt, another number of nodes: the same bits.
  World elsewhere = world;
  elsewhere.node_of_rank = NodesOf(5, 5);
  EXPECT_EQ(SaveStep(fs, elsewhere, kDir, 200, 7), kNewest);
  EXPECT_EQ(StepReader::Open(fs, kNewest)->state().attempt, 0u);
  EXPECT_EQ(StepReader::Open(fs, kNewest)->lineage(), old->lineage());
  EXPECT_THAT(fs.List(kDir), ElementsAre("step_00000100", "step_00000200"));
}

TEST_F(Damage, OtherLineageIsMovedAside) {
  World other = world;
  for (uint64_t salt = 1; salt <= 3; ++salt) {
    other.salt = salt;
    SaveStep(fs, other, kDir, 200, salt);
    EXPECT_TRUE(ReadsBackAs(*StepReader::Open(fs, "/run"), other.KeyOf(200), 1));
  }
  EXPECT_THAT(fs.List(kDir),
              ElementsAre("step_00000100", "step_00000200", "step_00000200.superseded-1",
                          "step_00000200.superseded-2", "step_00000200.superseded-3"));
  EXPECT_EQ(ListSteps(fs, kDir).size(), 2u);
  // They go with their step.
  SaveStep(fs, world, kDir, 300);
  Prune(fs, kDir, {.keep_last = 1});
  EXPECT_THAT(fs.List(kDir), ElementsAre("step_00000300"));
}

// What pruning to one step would remove; nothing where it refuses.
std::vector<std::string> RemovedBy(const FileSystem& fs) {
  try {
    return PlanPrune(fs, kDir, {.keep_last = 1}).removed;
  } catch (const IoError&) {
    return {};
  }
}

// A disk that cannot be read for a moment is no evidence against a step: nothing older is opened.
TEST_F(Damage, WhatCannotBeReadIsNotPassedOver) {
  FaultyFileSystem sick(fs);
  for (const int number : {EIO, ESTALE, EMFILE, EACCES}) {
    for (const char* part : {"checkpoints", "COMMIT", "shard_00001", "buffers.h5", "newest.json"}) {
      const std::string path =
          part == std::string("COMMIT") ? std::string(kNewest) + "/COMMIT" : part;
      std::vector<std::string> problems;
      sick.FailQuestions(path, number, 1);
      ErrorOf([&] { OpenNewestUsable(sick, "/run", true, &problems); }, "E-IO");
      EXPECT_THAT(problems, ElementsAre()) << part;
      sick.FailQuestions(path, number, 1);
      EXPECT_THAT(RemovedBy(sick), ElementsAre()) << part;
    }
  }
  sick.FailQuestions("", 0, 0);
  EXPECT_EQ(OpenNewestUsable(sick, "/run", true, nullptr)->state().step, 200u);
}

}  // namespace
}  // namespace contrail::ckpt
