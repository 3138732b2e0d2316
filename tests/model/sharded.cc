#include "tests/model/sharded.h"

#include <c10/core/InferenceMode.h>

#include <barrier>
#include <thread>

namespace contrail::model {
namespace {

// Sums over threads that stand for ranks, in rank order.
class ThreadedSum {
 public:
  explicit ThreadedSum(int ranks) : inputs_(ranks), barrier_(ranks) {}
  SumOverRanks ForRank(int rank) {
    return [this, rank](at::Tensor tensor) {
      inputs_[rank] = tensor.clone();
      barrier_.arrive_and_wait();
      tensor.zero_();
      for (const at::Tensor& input : inputs_) tensor += input;
      barrier_.arrive_and_wait();
    };
  }

 private:
  std::vector<at::Tensor> inputs_;
  std::barrier<> barrier_;
};

}  // namespace

ShardedResult ShardedLoss(const std::string& name, const Features& features, const Logits& logits,
                          int ranks, int64_t tile) {
  const int64_t B = features.image.size(0);
  const int64_t D = features.image.size(1);
  const int64_t b = B / ranks;
  ShardedResult result;
  result.outputs.resize(ranks);
  result.d_image = at::full({B, D}, NAN, at::kFloat);
  result.d_text = at::full({B, D}, NAN, at::kFloat);
  ThreadedSum sum(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      c10::InferenceMode inference;  // as the worker runs
      const std::unique_ptr<Loss> loss = MakeLoss(name, b, B, D, tile);
      LossInput input;
      input.offset = rank * b;
      input.image_all = features.image;
      input.text_all = features.text;
      input.image = features.image.narrow(0, input.offset, b);
      input.text = features.text.narrow(0, input.offset, b);
      input.scale = logits.scale;
      input.bias = logits.bias;
      result.outputs[rank] =
          loss->Compute(input, result.d_image.narrow(0, input.offset, b),
                        result.d_text.narrow(0, input.offset, b), sum.ForRank(rank));
    });
  }
  for (std::thread& thread : threads) thread.join();
  return result;
}

}  // namespace contrail::model
