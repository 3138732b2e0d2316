// The samples of one of eight ranks over an epoch, in order.
//   order SAMPLES
// A repetition is an epoch; the figure is the number of samples named.

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/serve.h"
#include "data/order.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("order SAMPLES\n", stderr);
    return 2;
  }
  constexpr uint64_t kShard = 10'000, kRanks = 8, kWindow = 524'288;
  const uint64_t samples = std::strtoull(argv[1], nullptr, 10);
  const contrail::data::SampleOrder order(1, std::vector<uint64_t>(samples / kShard, kShard),
                                          kWindow);
  uint64_t epoch = 0;
  return contrail::bench::Serve([&](int64_t repetitions) {
    uint64_t named = 0, all = 0;
    for (int64_t i = 0; i < repetitions; ++i, ++epoch) {
      named = 0;
      for (uint64_t at = 0; at < order.size(); at += kRanks, ++named) all += order.At(epoch, at);
    }
    return all > 0 ? static_cast<double>(named) : 0;
  });
}
