#include "eval/import.h"

#include <cmath>

#include "checkpoint/save.h"
#include "common/error.h"
#include "model/files/new_folder.h"

namespace contrail::eval {
namespace {

using model::files::Inventory;
using model::files::ModelWeights;

// Whole tensors, in order, of at least this many elements together.
constexpr uint64_t kPartElements = 8 << 20;

struct Part {
  size_t first = 0, last = 0;  // tensors [first, last)
  ckpt::Range range;
};

// A save writes what each rank owns, so a model goes piece by piece as if many ranks held it.
std::vector<Part> CutIntoParts(const ckpt::Layout& layout) {
  std::vector<Part> parts;
  for (size_t i = 0; i < layout.tensors.size(); ++i) {
    const ckpt::TensorInfo& tensor = layout.tensors[i];
    if (parts.empty() || parts.back().range.end - parts.back().range.begin >= kPartElements) {
      parts.push_back({i, i, {tensor.begin, tensor.begin}});
    }
    parts.back().last = i + 1;
    parts.back().range.end = tensor.begin + tensor.num_elements;
  }
  return parts;
}

ckpt::SavePlan PlanOf(const ModelWeights& weights, const std::string& dir) {
  ckpt::SavePlan plan;
  plan.checkpoints_dir = dir;
  plan.weights_only = true;
  plan.state.world_size = 1;
  plan.state.model = weights.spec().name;
  plan.state.activation = weights.spec().activation;
  plan.state.resolution = weights.spec().resolution;
  plan.state.mean_std = weights.spec().mean_std;
  plan.state.loss = std::nan("");  // nobody knows
  for (const auto& param : weights.inventory().params) {
    const uint64_t size = CountOf(param);
    plan.layout.tensors.push_back({param.name, param.shape, plan.layout.num_elements, size});
    plan.layout.num_elements += size;
  }
  return plan;
}

std::string Save(FileSystem& fs, ModelWeights& weights, const std::string& dir) {
  ckpt::SavePlan plan = PlanOf(weights, dir);
  const std::vector<Part> parts = CutIntoParts(plan.layout);
  plan.topology.size = static_cast<int>(parts.size());
  plan.topology.node_of_rank.assign(parts.size(), 0);
  for (const Part& part : parts) plan.ranges_of_rank.push_back({part.range});

  std::vector<std::string> reports;
  for (size_t p = 0; p < parts.size(); ++p) {
    const Part& part = parts[p];
    ckpt::Snapshot snapshot{{part.range}, {}};
    snapshot.data[0].resize(part.range.end - part.range.begin);
    for (size_t i = part.first; i < part.last; ++i) {
      weights.ReadParam(
          i, snapshot.data[0].data() + (plan.layout.tensors[i].begin - part.range.begin));
    }
    plan.topology.rank = static_cast<int>(p);
    reports.push_back(ckpt::SaveJob(fs, plan, std::move(snapshot)).Report());
  }
  plan.topology.rank = 0;
  const auto& buffers = weights.inventory().buffers;
  for (size_t i = 0; i < buffers.size(); ++i) {
    ckpt::NamedArray array{buffers[i].name, buffers[i].shape, {}};
    array.data.resize(CountOf(buffers[i]));
    weights.ReadBuffer(i, array.data.data());
    plan.buffers.push_back(std::move(array));
  }
  return ckpt::CommitStep(fs, plan, reports);
}

}  // namespace

void ImportCheckpoint(FileSystem& fs, ModelWeights& weights, const std::string& out) {
  model::files::NewFolder folder(fs, out);
  folder.Commit(Save(fs, weights, folder.temporary()));
}

}  // namespace contrail::eval
