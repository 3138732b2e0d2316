#include "eval/batches.h"

#include <future>
#include <numeric>
#include <vector>

#include <ATen/Parallel.h>

namespace contrail::eval {
namespace {

void Append(const data::Batch& part, data::Batch* whole) {
  whole->num_samples += part.num_samples;
  whole->images.insert(whole->images.end(), part.images.begin(), part.images.end());
  whole->labels.insert(whole->labels.end(), part.labels.begin(), part.labels.end());
  whole->keys.insert(whole->keys.end(), part.keys.begin(), part.keys.end());
  whole->load_seconds += part.load_seconds;
}

// Samples [first, first + count), shared out among threads: decoding takes longer than encoding
// where the model is small. Of several bad samples the first is reported.
data::Batch Load(const data::Dataset& dataset, const data::Tokenizer& tokenizer,
                 const data::LoadOptions& options, uint64_t first, uint64_t count,
                 uint64_t threads) {
  const uint64_t share = (count + threads - 1) / threads;
  std::vector<std::future<data::Batch>> parts;
  for (uint64_t begin = 0; begin < count; begin += share) {
    std::vector<uint64_t> samples(std::min(share, count - begin));
    std::iota(samples.begin(), samples.end(), first + begin);
    parts.push_back(std::async(std::launch::async, [&, samples = std::move(samples)] {
      return data::LoadBatch(dataset, tokenizer, options, /*epoch=*/0, samples);
    }));
  }
  data::Batch whole = parts[0].get();
  for (size_t i = 1; i < parts.size(); ++i) Append(parts[i].get(), &whole);
  return whole;
}

}  // namespace

void ForEachBatch(const data::Dataset& dataset, const data::Tokenizer& tokenizer,
                  int64_t resolution, int64_t batch_size,
                  const std::function<void(const data::Batch& batch, uint64_t first)>& use) {
  data::LoadOptions options;
  options.resolution = resolution;
  options.crop = "center";
  options.captions = false;  // so that parts of a batch have none to join
  const auto threads = static_cast<uint64_t>(std::max(1, at::get_num_threads()));
  const uint64_t size = dataset.size();
  const auto load = [&](uint64_t first) {
    return Load(dataset, tokenizer, options, first, std::min<uint64_t>(batch_size, size - first),
                threads);
  };
  std::future<data::Batch> next = std::async(std::launch::async, load, 0);
  for (uint64_t first = 0; first < size; first += batch_size) {
    const data::Batch batch = next.get();
    if (first + batch_size < size) next = std::async(std::launch::async, load, first + batch_size);
    use(batch, first);
  }
}

}  // namespace contrail::eval
