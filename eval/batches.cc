#include "eval/batches.h"

#include <future>
#include <numeric>

namespace contrail::eval {

void ForEachBatch(const data::Dataset& dataset, const data::Tokenizer& tokenizer,
                  int64_t resolution, int64_t batch_size,
                  const std::function<void(const data::Batch& batch, uint64_t first)>& use) {
  data::LoadOptions options;
  options.resolution = resolution;
  options.crop = "center";
  options.captions = false;
  const uint64_t size = dataset.size();
  const auto load = [&](uint64_t first) {
    std::vector<uint64_t> samples(std::min<uint64_t>(batch_size, size - first));
    std::iota(samples.begin(), samples.end(), first);
    return data::LoadBatch(dataset, tokenizer, options, /*epoch=*/0, samples);
  };
  std::future<data::Batch> next = std::async(std::launch::async, load, 0);
  for (uint64_t first = 0; first < size; first += batch_size) {
    const data::Batch batch = next.get();
    if (first + batch_size < size) next = std::async(std::launch::async, load, first + batch_size);
    use(batch, first);
  }
}

}  // namespace contrail::eval
