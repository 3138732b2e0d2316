// Is a manifest sound? Asked before writing one and after reading one.
#include <algorithm>

#include "checkpoint/format.h"

namespace contrail::ckpt {
namespace {

std::string CheckLayout(const Layout& layout) {
  uint64_t at = 0;
  for (const TensorInfo& tensor : layout.tensors) {
    if (tensor.begin != at) return "tensor '" + tensor.name + "' does not follow the one before it";
    uint64_t elements = 1;
    for (const int64_t size : tensor.shape) {
      if (size < 0) return "tensor '" + tensor.name + "' has a negative size";
      elements *= static_cast<uint64_t>(size);
    }
    if (elements != tensor.num_elements)
      return "tensor '" + tensor.name + "' has another shape than number of elements";
    at += elements;
  }
  if (at != layout.num_elements) return "the tensors do not add up to num_elements";
  return "";
}

std::string CheckCover(const Manifest& manifest) {
  std::vector<Range> all;
  for (const ShardInfo& shard : manifest.shards)
    for (const RankPart& part : shard.parts)
      for (const Range& range : part.ranges) {
        if (range.begin > range.end) return "a range ends before it begins";
        if (range.begin < range.end) all.push_back(range);
      }
  std::sort(all.begin(), all.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  uint64_t at = 0;
  for (const Range& range : all) {
    if (range.begin != at)
      return "element " + std::to_string(std::min(at, range.begin)) + " has " +
             (range.begin > at ? "no owner" : "two owners");
    at = range.end;
  }
  if (at != manifest.layout.num_elements)
    return "the ranges end at element " + std::to_string(at) + " of " +
           std::to_string(manifest.layout.num_elements);
  return "";
}

bool LiesInside(uint64_t offset, uint64_t bytes, uint64_t file_bytes) {
  return bytes <= file_bytes && offset <= file_bytes - bytes;
}

std::string CheckShard(const ShardInfo& shard, const Manifest& manifest) {
  const uint64_t block_bytes = manifest.block_bytes;
  const uint64_t page_bytes = manifest.page_bytes;
  // A name with a slash could lead out of the step directory.
  if (shard.file.empty() || shard.file.find('/') != std::string::npos)
    return "a shard has an ill-formed name";
  if (shard.parts.empty()) return shard.file + " holds no rank";
  for (const RankPart& part : shard.parts) {
    const uint64_t bytes = part.elements() * sizeof(float);
    const uint64_t blocks = (bytes + block_bytes - 1) / block_bytes;
    const int kinds = KindsOf(manifest.weights_only);
    const uint64_t pages = page_bytes == 0 ? 0 : (bytes + page_bytes - 1) / page_bytes;
    if (!LiesInside(part.page_crcs_offset, kinds * pages * sizeof(uint32_t), shard.file_bytes))
      return shard.file + " has page checksums outside it";
    for (int kind = 0; kind < kinds; ++kind) {
      const std::string name = shard.file + DatasetPath(part.rank, kind);
      if (part.block_crcs[kind].size() != blocks) return name + " has too few or many checksums";
      if (!LiesInside(part.offset[kind], bytes, shard.file_bytes))
        return name + " lies outside its file";
    }
  }
  return "";
}

std::string CheckBuffers(const BufferFile& buffers) {
  for (const BufferPlace& array : buffers.arrays) {
    uint64_t bytes = sizeof(float);
    for (const int64_t size : array.shape) {
      if (size < 0 || static_cast<uint64_t>(size) > buffers.bytes)
        return "array '" + array.name + "' has an impossible shape";
      bytes *= static_cast<uint64_t>(size);
      if (bytes > buffers.bytes) break;
    }
    if (bytes > buffers.bytes || array.offset > buffers.bytes - bytes)
      return "array '" + array.name + "' lies outside " + kBuffersName;
  }
  return "";
}

}  // namespace

std::vector<Extent> ShardInfo::Payload(int kinds) const {
  std::vector<Extent> payload;
  for (const RankPart& part : parts) {
    const uint64_t bytes = part.elements() * sizeof(float);
    if (bytes == 0) continue;
    for (int kind = 0; kind < kinds; ++kind)
      payload.push_back({part.offset[kind], part.offset[kind] + bytes});
  }
  return payload;
}

uint64_t BufferPlace::elements() const {
  uint64_t product = 1;
  for (const int64_t size : shape) product *= static_cast<uint64_t>(size);
  return product;
}

std::string CheckManifest(const Manifest& manifest) {
  if (manifest.block_bytes == 0 || manifest.block_bytes % sizeof(float) != 0 ||
      manifest.block_bytes > (1u << 30))
    return "block_bytes is out of range";
  if (manifest.page_bytes % sizeof(float) != 0 ||
      (manifest.page_bytes > 0 && manifest.block_bytes % manifest.page_bytes != 0))
    return "page_bytes does not divide block_bytes";
  if (std::string wrong = CheckLayout(manifest.layout); !wrong.empty()) return wrong;
  if (std::string wrong = CheckCover(manifest); !wrong.empty()) return wrong;
  for (const ShardInfo& shard : manifest.shards)
    if (std::string wrong = CheckShard(shard, manifest); !wrong.empty()) return wrong;
  return CheckBuffers(manifest.buffers);
}

}  // namespace contrail::ckpt
