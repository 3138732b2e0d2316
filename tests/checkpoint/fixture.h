#pragma once
// A small synthetic model and runs of it, shared by the tests of checkpoints.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/load.h"
#include "checkpoint/save.h"
#include "common/file_system.h"

namespace contrail::ckpt {

// A directory of its own under /dev/shm (or /tmp), removed at the end.
class ScratchDir {
 public:
  ScratchDir();
  ~ScratchDir();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Tensors of 0 to 4 dimensions with odd sizes; about `elements` elements.
Layout RandomLayout(uint64_t seed, uint64_t elements);

// Cuts the flat space into pieces at random places and deals them to `ranks` ranks: several ranges
// a rank, in no order, some ranks with nothing.
std::vector<std::vector<Range>> RandomRanges(uint64_t seed, uint64_t elements, int ranks);

// The value of an element. `key` tells steps (and other runs of the same step) apart.
float ValueOf(uint64_t key, int kind, uint64_t element);

// `ranks` ranks on `nodes` nodes, blocks of consecutive ranks.
std::vector<int> NodesOf(int ranks, int nodes);

struct World {
  Layout layout;
  std::vector<std::vector<Range>> ranges;
  std::vector<int> node_of_rank;
  std::vector<std::vector<int64_t>> buffers;  // shapes
  uint64_t salt = 0;                          // another salt trains to other values
  uint64_t KeyOf(uint64_t step) const { return step + 1000003 * salt; }
  int ranks() const { return static_cast<int>(ranges.size()); }
};
// With three buffers.
World MakeWorld(uint64_t seed, uint64_t elements, int ranks, int nodes);

RunState StateOf(uint64_t step, const World& world);
SavePlan PlanOf(const World& world, const std::string& checkpoints_dir, uint64_t step, int rank);
Snapshot SnapshotOf(const World& world, uint64_t step, int rank);

std::vector<NamedArray> BuffersOf(const World& world, uint64_t step);

// Saves and commits one step, all ranks at once. Returns the step directory.
std::string SaveStep(FileSystem& fs, const World& world, const std::string& checkpoints_dir,
                     uint64_t step, uint64_t attempt = 0);

// Reads everything as `readers` ranks would, each its own contiguous slice. Returns whether every
// element of every kind, and of the buffers, is ValueOf(key, ...).
bool ReadsBackAs(const StepReader& reader, uint64_t key, int readers);

}  // namespace contrail::ckpt
