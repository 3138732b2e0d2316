// h5py, an independent reader, finds the exact values in index.h5 and in the shards.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "checkpoint/format.h"
#include "checkpoint/index.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

int Python(const std::string& arguments) {
  const std::string command =
      CONTRAIL_SOURCE_DIR "/.venv/bin/python " CONTRAIL_SOURCE_DIR "/tests/checkpoint/" + arguments;
  return std::system(command.c_str());
}

void WriteExpected(const std::string& path, const World& world, uint64_t step) {
  std::ofstream file(path, std::ios::binary);
  for (int kind = 0; kind < kNumKinds; ++kind)
    for (uint64_t element = 0; element < world.layout.num_elements; ++element) {
      const float value = ValueOf(step, kind, element);
      file.write(reinterpret_cast<const char*>(&value), sizeof value);
    }
  for (const NamedArray& buffer : BuffersOf(world, step))
    file.write(reinterpret_cast<const char*>(buffer.data.data()),
               static_cast<std::streamsize>(buffer.data.size() * sizeof(float)));
}

TEST(H5py, ReadsIndexAndShards) {
  for (const int nodes : {1, 3}) {
    ScratchDir scratch;
    const World world = MakeWorld(21 + nodes, 6000, 8, nodes);
    const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path(), 42);
    WriteExpected(scratch.path() + "/expected.f32", world, 42);
    EXPECT_EQ(Python("check_h5.py " + dir + " " + scratch.path() + "/expected.f32"), 0);
    // Names inside are relative: the step may be moved.
    PosixFileSystem().MakeDir(scratch.path() + "/elsewhere");
    PosixFileSystem().Rename(dir, scratch.path() + "/elsewhere/kept");
    EXPECT_EQ(Python("check_h5.py " + scratch.path() + "/elsewhere/kept " + scratch.path() +
                     "/expected.f32"),
              0);
  }
}

TEST(H5py, AnIndexThatNoCommitMadeIsMadeOnDemand) {
  ScratchDir scratch;
  const World world = MakeWorld(31, 12000, 600, 150);
  const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path(), 42);
  EXPECT_FALSE(PosixFileSystem().Exists(dir + "/index.h5"));
  VerifyStep(PosixFileSystem(), dir);
  EXPECT_TRUE(WriteIndex(PosixFileSystem(), dir));
  WriteExpected(scratch.path() + "/expected.f32", world, 42);
  EXPECT_EQ(Python("check_h5.py " + dir + " " + scratch.path() + "/expected.f32"), 0);
  EXPECT_TRUE(WriteIndex(PosixFileSystem(), dir));  // anew
  VerifyStep(PosixFileSystem(), dir);
  // One that belongs to its step is left alone.
  const World small = MakeWorld(32, 60, 2, 1);
  EXPECT_FALSE(
      WriteIndex(PosixFileSystem(), SaveStep(PosixFileSystem(), small, scratch.path(), 43)));
}

TEST(H5py, MissingShardReadsAsNaNAndOurReaderRefuses) {
  ScratchDir scratch;
  World world = MakeWorld(5, 50, 2, 2);
  world.ranges = {{{0, 1}}, {{1, world.layout.num_elements}}};
  const std::string dir = SaveStep(PosixFileSystem(), world, scratch.path(), 1);
  PosixFileSystem().RemoveFile(dir + "/shard_00001.h5");
  std::ofstream(scratch.path() + "/nan.py")
      << "import h5py, numpy as np, sys\n"
         "sets = list(h5py.File(sys.argv[1], 'r')['weight'].values())\n"
         "missing = sum(int(np.isnan(np.asarray(d[()])).sum()) for d in sets)\n"
         "assert missing == sum(np.size(d[()]) for d in sets) - 1, missing\n";
  EXPECT_EQ(std::system((CONTRAIL_SOURCE_DIR "/.venv/bin/python " + scratch.path() + "/nan.py " +
                         dir + "/index.h5")
                            .c_str()),
            0);
  EXPECT_ANY_THROW(StepReader::Open(PosixFileSystem(), dir));
}

TEST(Boxes, CoverARangeInOrderWithFewBoxes) {
  const std::vector<std::vector<int64_t>> shapes = {
      {}, {1}, {7}, {3, 4}, {1, 5}, {2, 3, 4}, {3, 1, 2}, {2, 3, 2, 3}, {1, 1, 1, 4}};
  for (const auto& shape : shapes) {
    uint64_t elements = 1;
    for (const int64_t size : shape) elements *= static_cast<uint64_t>(size);
    for (uint64_t begin = 0; begin <= elements; ++begin)
      for (uint64_t end = begin; end <= elements; ++end) {
        const std::vector<Box> boxes = BoxesOf(shape, begin, end);
        EXPECT_LE(boxes.size(), shape.empty() ? 1 : 2 * (shape.size() - 1) + 1);
        // Walking the boxes in row-major order must give begin, begin + 1, ..., end - 1.
        uint64_t next = begin;
        for (const Box& box : boxes) {
          ASSERT_EQ(box.start.size(), shape.size());
          uint64_t size = 1;
          for (const uint64_t count : box.count) size *= count;
          for (uint64_t i = 0; i < size; ++i) {
            uint64_t rest = i, flat = 0, stride = 1;
            for (size_t d = shape.size(); d-- > 0;) {
              flat += (box.start[d] + rest % box.count[d]) * stride;
              rest /= box.count[d];
              stride *= static_cast<uint64_t>(shape[d]);
            }
            ASSERT_EQ(flat, next++);
          }
        }
        ASSERT_EQ(next, end);
      }
  }
}

}  // namespace
}  // namespace contrail::ckpt
