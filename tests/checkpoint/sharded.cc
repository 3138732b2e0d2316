#include "tests/checkpoint/sharded.h"

#include <algorithm>

#include "common/hash.h"

namespace contrail::ckpt {
namespace {

constexpr uint64_t kAlign = 32;                           // elements, as worker/flat.cc
constexpr uint64_t kBucket = (64 << 20) / sizeof(float);  // elements

uint64_t RoundUp(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

void Add(Layout* layout, const std::string& name, const std::vector<int64_t>& shape) {
  TensorInfo tensor{name, shape, layout->num_elements, 1};
  for (const int64_t size : shape) tensor.num_elements *= static_cast<uint64_t>(size);
  layout->num_elements += tensor.num_elements;
  layout->tensors.push_back(std::move(tensor));
}

void AddTower(Layout* layout, const std::string& prefix, int layers, int64_t width) {
  for (int layer = 0; layer < layers; ++layer) {
    const std::string name = prefix + std::to_string(layer) + ".";
    Add(layout, name + "attn.in_proj_weight", {3 * width, width});
    Add(layout, name + "attn.in_proj_bias", {3 * width});
    Add(layout, name + "attn.out_proj.weight", {width, width});
    Add(layout, name + "attn.out_proj.bias", {width});
    for (const char* norm : {"ln_1", "ln_2"})
      for (const char* part : {".weight", ".bias"}) Add(layout, name + norm + part, {width});
    Add(layout, name + "mlp.c_fc.weight", {4 * width, width});
    Add(layout, name + "mlp.c_fc.bias", {4 * width});
    Add(layout, name + "mlp.c_proj.weight", {width, 4 * width});
    Add(layout, name + "mlp.c_proj.bias", {width});
  }
}

uint32_t CrcOfZeros(uint64_t size) {
  const std::string zeros(size, '\0');
  return Crc32c(0, zeros.data(), size);
}

}  // namespace

Layout BigLayout() {
  Layout layout;
  Add(&layout, "logit_scale", {});
  Add(&layout, "visual.conv1.weight", {1024, 3, 14, 14});
  Add(&layout, "visual.positional_embedding", {257, 1024});
  AddTower(&layout, "visual.transformer.resblocks.", 24, 1024);
  Add(&layout, "token_embedding.weight", {49408, 1280});
  AddTower(&layout, "transformer.resblocks.", 20, 1280);
  Add(&layout, "text_projection", {1280, 768});
  return layout;
}

std::vector<std::vector<Range>> SlicesOf(const Layout& layout, int ranks) {
  std::vector<std::vector<Range>> ranges(ranks);
  // A bucket is closed where the next tensor would make it too long.
  for (size_t end = layout.tensors.size(); end > 0;) {
    size_t begin = end;
    uint64_t size = 0;
    while (begin > 0) {
      const uint64_t next = RoundUp(layout.tensors[begin - 1].num_elements, kAlign);
      if (begin < end && size + next > kBucket) break;
      size += next;
      --begin;
    }
    const uint64_t slice = RoundUp(size, kAlign * ranks) / ranks;
    uint64_t place = 0;
    for (size_t t = begin; t < end; ++t) {
      const TensorInfo& tensor = layout.tensors[t];
      for (uint64_t at = 0; at < tensor.num_elements;) {
        const uint64_t rank = (place + at) / slice;
        const uint64_t to = std::min(tensor.num_elements, (rank + 1) * slice - place);
        ranges[rank].push_back({tensor.begin + at, tensor.begin + to});
        at = to;
      }
      place += RoundUp(tensor.num_elements, kAlign);
    }
    end = begin;
  }
  for (auto& own : ranges) {
    std::sort(own.begin(), own.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
    std::vector<Range> merged;
    for (const Range& range : own) {
      if (!merged.empty() && merged.back().end == range.begin)
        merged.back().end = range.end;
      else
        merged.push_back(range);
    }
    own = std::move(merged);
  }
  return ranges;
}

Manifest ManifestOfZeros(const Layout& layout, int ranks) {
  Manifest manifest;
  manifest.state.step = 1;
  manifest.layout = layout;
  const auto ranges = SlicesOf(layout, ranks);
  const uint32_t whole_block = CrcOfZeros(kBlockBytes);
  for (int rank = 0; rank < ranks; ++rank) {
    if (rank % 8 == 0) manifest.shards.push_back({ShardName(rank / 8), rank / 8, 0, 0, {}});
    ShardInfo& shard = manifest.shards.back();
    RankPart& part = shard.parts.emplace_back();
    part.rank = rank;
    part.ranges = ranges[rank];
    const uint64_t bytes = part.elements() * sizeof(float);
    for (int kind = 0; kind < kNumKinds; ++kind) {
      part.offset[kind] = shard.file_bytes;
      shard.file_bytes += RoundUp(bytes, kAlignment);
      part.block_crcs[kind].assign(bytes / kBlockBytes, whole_block);
      if (bytes % kBlockBytes > 0) part.block_crcs[kind].push_back(CrcOfZeros(bytes % kBlockBytes));
    }
    part.page_crcs_offset = shard.file_bytes;
    shard.file_bytes += kNumKinds * ((bytes + kPageBytes - 1) / kPageBytes) * sizeof(uint32_t);
    shard.file_bytes = RoundUp(shard.file_bytes, kAlignment);
  }
  manifest.lineage = LineageOf(manifest);
  return manifest;
}

}  // namespace contrail::ckpt
