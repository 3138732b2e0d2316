#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "checkpoint/format.h"
#include "common/error.h"
#include "common/hash.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

TEST(RoundTrip, AnyRankCountReadsWhatAnyOtherWrote) {
  for (const int writers : {1, 2, 3, 8, 13}) {
    for (const int nodes : {1, 2, 5}) {
      if (nodes > writers) continue;
      ScratchDir scratch;
      const World world = MakeWorld(100 + writers, 5000, writers, nodes);
      const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path() + "/ckpt", 1200);
      EXPECT_EQ(dir, scratch.path() + "/ckpt/step_00001200");
      for (const int readers : {1, 3, 5, 16}) {
        const auto reader = StepReader::Open(PosixFileSystem(), dir);
        EXPECT_TRUE(ReadsBackAs(*reader, 1200, readers))
            << writers << " ranks on " << nodes << " nodes, read by " << readers;
      }
      VerifyStep(PosixFileSystem(), dir);
      EXPECT_EQ(PosixFileSystem().List(scratch.path() + "/ckpt").size(), 1u);
      // One shard a node, buffers.h5, index.h5 and COMMIT, and nothing else.
      EXPECT_EQ(PosixFileSystem().List(dir).size(), static_cast<size_t>(nodes) + 3);
    }
  }
}

TEST(RoundTrip, TensorsOfSeveralBlocksAndOddEnds) {
  ScratchDir scratch;
  World world;
  const uint64_t elements = 2 * kBlockBytes / sizeof(float) + 12345;
  world.layout.tensors = {{"big", {static_cast<int64_t>(elements)}, 0, elements}};
  world.layout.num_elements = elements;
  world.ranges = {{{7, elements}}, {{0, 7}}};
  world.node_of_rank = {0, 0};
  const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path(), 3);
  const auto reader = StepReader::Open(PosixFileSystem(), dir);
  // Stretches across block ends and rank ends, in random order, before the whole.
  std::mt19937_64 random(5);
  for (int i = 0; i < 50; ++i) {
    const uint64_t begin = random() % elements;
    const uint64_t end = begin + random() % std::min<uint64_t>(elements - begin + 1, 5000);
    std::vector<float> values(end - begin);
    reader->Read(i % kNumKinds, {begin, end}, values.data());
    for (uint64_t j = 0; j < values.size(); ++j)
      ASSERT_EQ(values[j], ValueOf(3, i % kNumKinds, begin + j));
  }
  EXPECT_TRUE(ReadsBackAs(*reader, 3, 2));
}

TEST(RoundTrip, BuffersKeepNamesShapesAndBits) {
  ScratchDir scratch;
  World world = MakeWorld(4, 300, 3, 2);
  const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path(), 8);
  const auto reader = StepReader::Open(PosixFileSystem(), dir);
  const std::vector<NamedArray> expected = BuffersOf(world, 8);
  ASSERT_EQ(reader->buffers().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(reader->buffers()[i].name, expected[i].name);
    EXPECT_EQ(reader->buffers()[i].shape, expected[i].shape);
    EXPECT_EQ(reader->buffers()[i].data, expected[i].data);
  }
  EXPECT_FALSE(reader->weights_only());
  // A model without any has no such file.
  world.buffers.clear();
  const std::string plain = SaveStep(PosixFileSystem(), world, scratch.path(), 9);
  EXPECT_FALSE(PosixFileSystem().Exists(plain + "/buffers.h5"));
  EXPECT_TRUE(StepReader::Open(PosixFileSystem(), plain)->buffers().empty());
  VerifyStep(PosixFileSystem(), plain);
}

TEST(RoundTrip, WeightsOnly) {
  ScratchDir scratch;
  const World world = MakeWorld(5, 300, 2, 1);
  std::vector<std::string> reports;
  for (int rank = 0; rank < 2; ++rank) {
    SavePlan plan = PlanOf(world, scratch.path(), 0, rank);
    plan.weights_only = true;
    Snapshot snapshot = SnapshotOf(world, 0, rank);
    for (int kind = 1; kind < kNumKinds; ++kind) snapshot.data[kind].clear();
    SaveJob job(PosixFileSystem(), plan, snapshot);
    reports.push_back(job.Report());
    EXPECT_EQ(job.bytes(), 4 * NumElements(world.ranges[rank]));
  }
  SavePlan plan = PlanOf(world, scratch.path(), 0, 0);
  plan.weights_only = true;
  const std::string dir = CommitStep(PosixFileSystem(), plan, reports);
  VerifyStep(PosixFileSystem(), dir);
  const auto reader = StepReader::Open(PosixFileSystem(), dir);
  EXPECT_TRUE(reader->weights_only());
  EXPECT_EQ(reader->buffers().size(), 3u);
  std::vector<float> values(world.layout.num_elements);
  reader->Read(0, {0, values.size()}, values.data());
  for (uint64_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], ValueOf(0, 0, i));
  for (int kind = 1; kind < kNumKinds; ++kind) {
    try {
      reader->Read(kind, {0, 1}, values.data());
      ADD_FAILURE() << "read moments that are not there";
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-CKPT-WEIGHTS-ONLY");
    }
  }
}

TEST(RoundTrip, RandomWorlds) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    std::mt19937_64 random(seed);
    ScratchDir scratch;
    const int writers = static_cast<int>(1 + random() % 9);
    const int nodes = static_cast<int>(1 + random() % writers);
    const World world = MakeWorld(seed, 1 + random() % 3000, writers, nodes);
    const uint64_t step = random() % 100000000;
    const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path(), step);
    const auto reader = StepReader::Open(PosixFileSystem(), scratch.path());
    EXPECT_EQ(reader->dir(), dir);
    EXPECT_TRUE(ReadsBackAs(*reader, step, static_cast<int>(1 + random() % 7))) << "seed " << seed;
    VerifyStep(PosixFileSystem(), dir);
  }
}

TEST(RoundTrip, StateIsExact) {
  ScratchDir scratch;
  const World world = MakeWorld(1, 100, 2, 1);
  RunState state = StateOf(std::numeric_limits<uint32_t>::max(), world);
  state.samples_seen = std::numeric_limits<uint64_t>::max();
  state.resolution = -1;
  state.parent = "0123456789abcdef";
  state.config_toml =
      std::string("a = \"\\u00e9\" # \"quoted\"\n\tüñ\n") + std::string(100000, 'x');
  for (const double loss : {0.1, 1e-310, std::numeric_limits<double>::max(),
                            std::numeric_limits<double>::infinity(), std::nan("")}) {
    state.loss = loss;
    std::vector<std::unique_ptr<SaveJob>> jobs;
    std::vector<std::string> reports;
    for (int rank = 0; rank < 2; ++rank) {
      SavePlan plan = PlanOf(world, scratch.path(), state.step, rank);
      plan.state = state;
      jobs.push_back(
          std::make_unique<SaveJob>(PosixFileSystem(), plan, SnapshotOf(world, state.step, rank)));
      reports.push_back(jobs.back()->Report());
      EXPECT_TRUE(jobs.back()->finished());
      EXPECT_FALSE(jobs.back()->failed());
      EXPECT_GT(jobs.back()->write_seconds(), 0);
    }
    EXPECT_EQ(jobs[0]->bytes() + jobs[1]->bytes(), world.layout.num_elements * 12);
    const std::string dir = CommitStep(PosixFileSystem(), jobs[0]->plan(), reports);
    const auto reader = StepReader::Open(PosixFileSystem(), dir);
    const RunState& read = reader->state();
    EXPECT_EQ(read.step, state.step);
    EXPECT_EQ(read.samples_seen, state.samples_seen);
    EXPECT_EQ(read.phase, state.phase);
    EXPECT_EQ(read.phase_step, state.phase_step);
    EXPECT_EQ(read.world_size, state.world_size);
    EXPECT_EQ(read.attempt, state.attempt);
    EXPECT_EQ(read.model, state.model);
    EXPECT_EQ(read.activation, state.activation);
    EXPECT_EQ(read.resolution, state.resolution);
    EXPECT_EQ(read.fingerprint, state.fingerprint);
    EXPECT_EQ(read.data_fingerprint, state.data_fingerprint);
    EXPECT_EQ(read.parent, state.parent);
    EXPECT_EQ(read.config_toml, state.config_toml);
    EXPECT_TRUE(read.loss == loss || (std::isnan(read.loss) && std::isnan(loss)));
    ASSERT_EQ(reader->layout().tensors.size(), world.layout.tensors.size());
    for (size_t i = 0; i < world.layout.tensors.size(); ++i) {
      EXPECT_EQ(reader->layout().tensors[i].name, world.layout.tensors[i].name);
      EXPECT_EQ(reader->layout().tensors[i].shape, world.layout.tensors[i].shape);
      EXPECT_EQ(reader->layout().tensors[i].begin, world.layout.tensors[i].begin);
      EXPECT_EQ(reader->layout().tensors[i].num_elements, world.layout.tensors[i].num_elements);
    }
    PosixFileSystem().RemoveTree(dir);
  }
}

TEST(RoundTrip, StepsWithoutPageChecksumsAreReadByWholeBlocks) {
  ScratchDir scratch;
  World world;
  const uint64_t elements = 3 * kBlockBytes / sizeof(float) + 12345;
  world.layout.tensors = {{"big", {static_cast<int64_t>(elements)}, 0, elements}};
  world.layout.num_elements = elements;
  world.ranges = {{{0, elements}}};
  world.node_of_rank = {0};
  const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path(), 3);
  // As minor version 1 wrote them.
  Manifest manifest = DecodeManifest(PosixFileSystem().ReadAll(dir + "/COMMIT"), "COMMIT");
  manifest.page_bytes = 0;
  PosixFileSystem().WriteAtomically(dir + "/COMMIT", EncodeManifest(manifest));
  EXPECT_TRUE(ReadsBackAs(*StepReader::Open(PosixFileSystem(), dir), 3, 7));
  VerifyStep(PosixFileSystem(), dir);
}

TEST(RoundTrip, AHeaderOpensTheSameStepElsewhere) {
  ScratchDir scratch;
  const World world = MakeWorld(4, 3000, 3, 2);
  const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path(), 8);
  const auto root = StepReader::Open(PosixFileSystem(), dir);
  const auto other = StepReader::FromHeader(PosixFileSystem(), root->header());
  EXPECT_EQ(other->dir(), dir);
  EXPECT_EQ(other->lineage(), root->lineage());
  EXPECT_TRUE(ReadsBackAs(*other, 8, 3));
  // A shard is looked at when it is read.
  PosixFileSystem().RemoveFile(dir + "/shard_00001.h5");
  const auto late = StepReader::FromHeader(PosixFileSystem(), root->header());
  try {
    ReadsBackAs(*late, 8, 3);
    ADD_FAILURE() << "read a shard that is not there";
  } catch (const Error& error) {
    // Whoever made the header has seen it, so it is no damage: this node is behind.
    EXPECT_EQ(error.id(), "E-IO");
    EXPECT_THAT(error.what(), testing::HasSubstr("shard_00001.h5: could not open"));
  }
}

TEST(SnapshotPool, MemoryIsUsedAgainAndASecondIsMadeWhereOneIsOut) {
  SnapshotPool pool({{5, 1005}});
  const float* first = nullptr;
  {
    const auto snapshot = pool.Take();
    first = snapshot->data[2].data();
    EXPECT_EQ(snapshot->ranges[0].begin, 5u);
    for (const Pages& data : snapshot->data) {
      EXPECT_EQ(data.size(), 1000u);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data.data()) % 4096, 0u);
    }
  }
  auto stuck = pool.Take();
  EXPECT_EQ(stuck->data[2].data(), first);
  for (int save = 0; save < 3; ++save) EXPECT_NE(pool.Take()->data[2].data(), first);
  stuck.reset();
  std::shared_ptr<Snapshot> late;
  {
    SnapshotPool gone({{0, 10}});
    late = gone.Take();
  }
  EXPECT_EQ(late->data[0].size(), 10u);
}

TEST(Skeleton, EveryRankMakesTheSameBytes) {
  const World world = MakeWorld(9, 4000, 8, 1);
  std::vector<RankRanges> ranks;
  for (int rank = 0; rank < 8; ++rank) ranks.push_back({rank, world.ranges[rank]});
  const Skeleton a = MakeSkeleton(77, 0, ranks);
  const Skeleton b = MakeSkeleton(77, 0, ranks);
  EXPECT_EQ(a.file_bytes, b.file_bytes);
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(a.page_crcs_offsets, b.page_crcs_offsets);
  EXPECT_EQ(a.crc, b.crc);
  ASSERT_EQ(a.pieces.size(), b.pieces.size());
  for (size_t i = 0; i < a.pieces.size(); ++i) {
    EXPECT_EQ(a.pieces[i].offset, b.pieces[i].offset);
    EXPECT_EQ(a.pieces[i].bytes, b.pieces[i].bytes);
  }
}

TEST(Skeleton, PayloadOfAPageOrMoreIsAlignedAndCostsNoMemory) {
  // 60 GB of payload: possible only because the image in memory is sparse.
  const Skeleton skeleton =
      MakeSkeleton(1, 0, {{0, {{0, 3000000000}}}, {1, {{3000000000, 5000000000}}}});
  EXPECT_GE(skeleton.file_bytes, 60000000000u);
  for (const auto& offsets : skeleton.offsets)
    for (const uint64_t offset : offsets) EXPECT_EQ(offset % kAlignment, 0u);
  uint64_t metadata = 0;
  for (const SkeletonPiece& piece : skeleton.pieces) metadata += piece.bytes.size();
  EXPECT_LT(metadata, 100000u);
}

TEST(Gaps, AreWhatIsNotPayload) {
  const auto gaps = Gaps({{20, 30}, {5, 10}, {10, 12}}, 40);
  ASSERT_EQ(gaps.size(), 3u);
  EXPECT_EQ(gaps[0].begin, 0u);
  EXPECT_EQ(gaps[0].end, 5u);
  EXPECT_EQ(gaps[1].begin, 12u);
  EXPECT_EQ(gaps[1].end, 20u);
  EXPECT_EQ(gaps[2].begin, 30u);
  EXPECT_EQ(gaps[2].end, 40u);
  EXPECT_TRUE(Gaps({{0, 8}}, 8).empty());
}

}  // namespace
}  // namespace contrail::ckpt
