// Encoded pictures in a shard to pixels of the model's size, one thread.
//   loader SHARD RESOLUTION center|random-resized
// A repetition is the whole shard; the figure is the mean of all pixels, 0 to 1.

#include <cstdio>
#include <numeric>

#include "bench/serve.h"
#include "data/dataset.h"
#include "data/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("loader SHARD RESOLUTION center|random-resized\n", stderr);
    return 2;
  }
  using namespace contrail;  // NOLINT: a program of one function
  const auto dataset = data::Dataset::Open({argv[1]});
  const auto tokenizer = data::Tokenizer::Load();
  const data::LoadOptions options = {
      .resolution = std::atol(argv[2]), .crop = argv[3], .captions = false};
  std::vector<uint64_t> all(dataset->size());
  std::iota(all.begin(), all.end(), 0);
  uint64_t epoch = 0;
  return bench::Serve([&](int64_t repetitions) {
    double mean = 0;
    for (int64_t i = 0; i < repetitions; ++i) {
      const data::Batch batch = data::LoadBatch(*dataset, *tokenizer, options, epoch++, all);
      mean = std::accumulate(batch.images.begin(), batch.images.end(), 0.0) / 255 /
             static_cast<double>(batch.images.size());
    }
    return mean;
  });
}
