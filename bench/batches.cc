#include "bench/batches.h"

#include <array>
#include <fstream>

#include "common/error.h"

namespace contrail::bench {
namespace {

template <typename T>
std::vector<T> ReadArray(std::ifstream& in, int64_t count) {
  std::vector<T> out(static_cast<size_t>(count));
  in.read(reinterpret_cast<char*>(out.data()),
          static_cast<std::streamsize>(out.size() * sizeof(T)));
  return out;
}

}  // namespace

std::vector<data::Batch> ReadBatches(const std::string& path, int64_t batch, int rank, int ranks) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<int64_t> head = ReadArray<int64_t>(in, 3);
  const int64_t samples = head[0];
  const int64_t image_bytes = 3 * head[1] * head[1];
  const std::vector<uint8_t> images = ReadArray<uint8_t>(in, samples * image_bytes);
  const std::vector<int32_t> offsets = ReadArray<int32_t>(in, samples + 1);
  const std::vector<int32_t> ids = ReadArray<int32_t>(in, head[2]);
  if (!in || samples < batch) {
    throw UserError("E-BENCH-INPUT", path, "holds no whole batch", "see bench/inputs.py");
  }
  std::vector<data::Batch> batches;
  const int64_t share = batch / ranks;
  for (int64_t begin = 0; begin + batch <= samples; begin += batch) {
    const int64_t first = begin + rank * share;
    data::Batch& out = batches.emplace_back();
    out.num_samples = share;
    out.resolution = head[1];
    out.images.assign(images.begin() + first * image_bytes,
                      images.begin() + (first + share) * image_bytes);
    out.token_ids.assign(ids.begin() + offsets[first], ids.begin() + offsets[first + share]);
    for (int64_t i = first; i <= first + share; ++i) {
      out.text_offsets.push_back(offsets[i] - offsets[first]);
    }
  }
  return batches;
}

}  // namespace contrail::bench
