#include "tests/checkpoint/fixture.h"

#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>

#include "common/error.h"

namespace contrail::ckpt {

ScratchDir::ScratchDir() {
  const bool fast = PosixFileSystem().Exists("/dev/shm");
  path_ = std::string(fast ? "/dev/shm" : "/tmp") + "/contrail-test-XXXXXX";
  CONTRAIL_ASSERT(::mkdtemp(path_.data()) != nullptr);
}

ScratchDir::~ScratchDir() { PosixFileSystem().RemoveTree(path_); }

Layout RandomLayout(uint64_t seed, uint64_t elements) {
  std::mt19937_64 random(seed);
  Layout layout;
  while (layout.num_elements < elements) {
    TensorInfo tensor;
    const size_t dims = random() % 5;
    tensor.num_elements = 1;
    for (size_t d = 0; d < dims; ++d) {
      tensor.shape.push_back(static_cast<int64_t>(1 + random() % 9));
      tensor.num_elements *= static_cast<uint64_t>(tensor.shape.back());
    }
    tensor.name = "visual.block." + std::to_string(layout.tensors.size()) + ".weight";
    tensor.begin = layout.num_elements;
    layout.num_elements += tensor.num_elements;
    layout.tensors.push_back(std::move(tensor));
  }
  return layout;
}

std::vector<std::vector<Range>> RandomRanges(uint64_t seed, uint64_t elements, int ranks) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> cuts = {0, elements};
  for (int i = 0; i < 3 * ranks - 1; ++i) cuts.push_back(random() % (elements + 1));
  std::sort(cuts.begin(), cuts.end());
  std::vector<Range> pieces;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) pieces.push_back({cuts[i], cuts[i + 1]});
  std::shuffle(pieces.begin(), pieces.end(), random);
  std::vector<std::vector<Range>> ranges(ranks);
  for (const Range& piece : pieces) ranges[random() % ranks].push_back(piece);
  return ranges;
}

float ValueOf(uint64_t key, int kind, uint64_t element) {
  uint64_t x = (key * kNumKinds + static_cast<uint64_t>(kind)) * 0x9e3779b97f4a7c15u + element;
  x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9u;
  const auto bits = static_cast<uint32_t>((x ^ (x >> 29)) % 0x7f800000u);  // finite, positive
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::vector<int> NodesOf(int ranks, int nodes) {
  std::vector<int> node_of_rank;
  for (int rank = 0; rank < ranks; ++rank) node_of_rank.push_back(rank * nodes / ranks);
  return node_of_rank;
}

World MakeWorld(uint64_t seed, uint64_t elements, int ranks, int nodes) {
  World world;
  world.layout = RandomLayout(seed, elements);
  world.ranges = RandomRanges(seed + 1, world.layout.num_elements, ranks);
  world.node_of_rank = NodesOf(ranks, nodes);
  world.buffers = {{5}, {}, {2, 3}};
  return world;
}

RunState StateOf(uint64_t step, const World& world) {
  RunState state;
  state.step = step;
  state.samples_seen = step * 256;
  state.phase = 1;
  state.phase_step = step / 2;
  state.world_size = static_cast<uint64_t>(world.ranks());
  state.model = "tiny-vit";
  state.activation = "quick_gelu";
  state.resolution = 28;
  state.data_fingerprint = "00bb";
  state.fingerprint = "00" + std::to_string(world.salt);
  state.loss = 1.0 / 3.0 + static_cast<double>(step);
  state.config_toml = "[run]\nseed = 7  # default\n";
  return state;
}

SavePlan PlanOf(const World& world, const std::string& checkpoints_dir, uint64_t step, int rank) {
  SavePlan plan;
  plan.checkpoints_dir = checkpoints_dir;
  plan.state = StateOf(step, world);
  plan.layout = world.layout;
  plan.topology = {rank, world.ranks(), world.node_of_rank};
  plan.ranges_of_rank = world.ranges;
  if (rank == 0) plan.buffers = BuffersOf(world, step);
  return plan;
}

std::vector<NamedArray> BuffersOf(const World& world, uint64_t step) {
  std::vector<NamedArray> buffers;
  uint64_t element = 0;
  for (const auto& shape : world.buffers) {
    NamedArray& buffer = buffers.emplace_back();
    buffer.name = "visual.norm." + std::to_string(buffers.size() - 1) + ".running_mean";
    buffer.shape = shape;
    int64_t size = 1;
    for (const int64_t extent : shape) size *= extent;
    while (size-- > 0) buffer.data.push_back(ValueOf(world.KeyOf(step), kNumKinds, element++));
  }
  return buffers;
}

Snapshot SnapshotOf(const World& world, uint64_t step, int rank) {
  Snapshot snapshot;
  snapshot.ranges = world.ranges[rank];
  for (int kind = 0; kind < kNumKinds; ++kind)
    for (const Range& range : snapshot.ranges)
      for (uint64_t element = range.begin; element < range.end; ++element)
        snapshot.data[kind].push_back(ValueOf(world.KeyOf(step), kind, element));
  return snapshot;
}

std::string SaveStep(FileSystem& fs, const World& world, const std::string& checkpoints_dir,
                     uint64_t step, uint64_t attempt) {
  std::vector<std::unique_ptr<SaveJob>> jobs;
  for (int rank = 0; rank < world.ranks(); ++rank) {
    SavePlan plan = PlanOf(world, checkpoints_dir, step, rank);
    plan.state.attempt = attempt;
    jobs.push_back(std::make_unique<SaveJob>(fs, std::move(plan), SnapshotOf(world, step, rank)));
  }
  std::vector<std::string> reports;
  for (const auto& job : jobs) reports.push_back(job->Report());
  return CommitStep(fs, jobs.front()->plan(), reports);
}

bool ReadsBackAs(const StepReader& reader, uint64_t key, int readers) {
  uint64_t at = 0;
  for (const NamedArray& buffer : reader.buffers())
    for (const float value : buffer.data) {
      const float expected = ValueOf(key, kNumKinds, at++);
      if (std::memcmp(&value, &expected, sizeof expected) != 0) return false;
    }
  const uint64_t elements = reader.layout().num_elements;
  for (int r = 0; r < readers; ++r) {
    const Range slice = {elements * r / readers, elements * (r + 1) / readers};
    std::vector<float> values(slice.end - slice.begin);
    for (int kind = 0; kind < kNumKinds; ++kind) {
      reader.Read(kind, slice, values.data());
      for (uint64_t i = 0; i < values.size(); ++i) {
        const float expected = ValueOf(key, kind, slice.begin + i);
        if (std::memcmp(&values[i], &expected, sizeof expected) != 0) return false;
      }
    }
  }
  return true;
}

}  // namespace contrail::ckpt
