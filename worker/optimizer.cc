#include "worker/optimizer.h"

#include <cmath>

#include "common/error.h"
#include "model/ops/parallel.h"
#include "worker/adamw_kernel.h"
#include "worker/rounding.h"

namespace contrail::worker {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements a task: 128 kB
constexpr int64_t kPiece = 1 << 11;  // elements whose new values are still in the first-level cache

// Numbers of one kind: as floats, or in 16 bits.
struct Numbers {
  float* floats = nullptr;
  uint16_t* narrow = nullptr;
  uint64_t key = 0;  // of stochastic rounding
};

// One bucket's own slices.
struct Slices {
  const float* grad = nullptr;
  Numbers weight, exp_avg, exp_avg_sq;
  uint16_t* working = nullptr;  // the masters' rounded copy, where there is one
  Narrow working_type = Narrow::kBFloat16;
};

// splitmix64's mix of what tells two roundings of an element apart.
uint64_t RoundingKey(uint64_t seed, uint64_t step, uint64_t kind) {
  uint64_t x = seed + 0x9e3779b97f4a7c15u * (step * ckpt::kNumKinds + kind + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

Numbers NumbersOf(const at::Tensor& tensor, uint64_t key) {
  if (tensor.scalar_type() == at::kFloat) return {tensor.data_ptr<float>(), nullptr, key};
  return {nullptr, static_cast<uint16_t*>(tensor.data_ptr()), key};
}

Slices SlicesOf(const FlatParams& flat, int bucket, uint64_t seed, uint64_t step) {
  const at::Tensor weights = flat.own_weights(bucket), working = flat.own_working(bucket);
  Slices slices;
  slices.grad = flat.own_grads(bucket).data_ptr<float>();
  slices.weight = NumbersOf(weights, RoundingKey(seed, step, 0));
  slices.exp_avg = NumbersOf(flat.own_exp_avg(bucket), RoundingKey(seed, step, 1));
  slices.exp_avg_sq = NumbersOf(flat.own_exp_avg_sq(bucket), RoundingKey(seed, step, 2));
  if (weights.scalar_type() != working.scalar_type()) {
    slices.working = static_cast<uint16_t*>(working.data_ptr());
    slices.working_type = working.scalar_type() == at::kHalf ? Narrow::kHalf : Narrow::kBFloat16;
  }
  return slices;
}

// The numbers at [at, at + count) as floats, in `buffer` where they are not.
float* Load(const Numbers& numbers, int64_t at, int64_t count, float* buffer) {
  if (numbers.narrow == nullptr) return numbers.floats + at;
  Widen(count, numbers.narrow + at, buffer);
  return buffer;
}

void Store(const Numbers& numbers, int64_t at, int64_t logical, int64_t count,
           const float* floats) {
  if (numbers.narrow == nullptr) return;
  RoundStochastically(numbers.key, logical, count, floats, numbers.narrow + at);
}

void Update(const AdamWCoefficients& c, const Slices& slices, const FlatParams::Run& run) {
  float buffers[3][kPiece];
  for (int64_t done = 0; done < run.count; done += kPiece) {
    const int64_t at = run.begin + done, logical = run.logical + done;
    const int64_t count = std::min(kPiece, run.count - done);
    float* weight = Load(slices.weight, at, count, buffers[0]);
    float* exp_avg = Load(slices.exp_avg, at, count, buffers[1]);
    float* exp_avg_sq = Load(slices.exp_avg_sq, at, count, buffers[2]);
    AdamWUpdate(c, count, slices.grad + at, weight, exp_avg, exp_avg_sq);
    Store(slices.weight, at, logical, count, weight);
    Store(slices.exp_avg, at, logical, count, exp_avg);
    Store(slices.exp_avg_sq, at, logical, count, exp_avg_sq);
    if (slices.working != nullptr) {
      RoundTo(slices.working_type, count, weight, slices.working + at);
    }
  }
}

}  // namespace

void AdamWStep(FlatParams& flat, int bucket, const AdamWOptions& options, uint64_t step, double lr,
               double grad_scale) {
  CONTRAIL_ASSERT(step > 0);
  const double t = static_cast<double>(step);
  AdamWCoefficients c;
  c.grad_scale = static_cast<float>(grad_scale);
  c.keep1 = static_cast<float>(options.beta1);
  c.take1 = static_cast<float>(1 - options.beta1);
  c.keep2 = static_cast<float>(options.beta2);
  c.take2 = static_cast<float>(1 - options.beta2);
  c.rate = static_cast<float>(lr / (1 - std::pow(options.beta1, t)));
  c.root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, t)));
  c.epsilon = static_cast<float>(options.epsilon);

  const Slices slices = SlicesOf(flat, bucket, options.seed, step);
  const std::vector<FlatParams::Run>& runs = flat.own_runs(bucket);
  model::ParallelFor(0, static_cast<int64_t>(runs.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      AdamWCoefficients of_run = c;
      if (runs[i].decay) of_run.shrink = static_cast<float>(1 - lr * options.weight_decay);
      Update(of_run, slices, runs[i]);
    }
  });
}

double SumOfOwnGradSquares(const FlatParams& flat) {
  double sum = 0;
  for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
    const at::Tensor own = flat.own_grads(bucket);
    const float* grad = own.data_ptr<float>();
    const int64_t blocks = (own.numel() + kGrain - 1) / kGrain;
    std::vector<double> partial(blocks);
    model::ParallelFor(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * kGrain;
        partial[block] = SumOfSquares(grad + first, std::min(kGrain, own.numel() - first));
      }
    });
    for (double part : partial) sum += part;
  }
  return sum;
}

double GlobalGradNorm(const FlatParams& flat, Comm& comm) {
  const double sum = SumOfOwnGradSquares(flat);
  at::Tensor total = at::full({1}, sum, at::kDouble);
  comm.AllReduceSum(total);
  return std::sqrt(total.item<double>());
}

double ClipScale(double norm, double max_norm) {
  if (max_norm <= 0 || norm <= max_norm) return 1;
  return max_norm / norm;
}

double ClampLogitScale(at::Tensor log_scale, double max_scale) {
  float* value = log_scale.data_ptr<float>();
  *value = std::min(std::max(*value, 0.0f), static_cast<float>(std::log(max_scale)));
  return std::exp(static_cast<double>(*value));
}

}  // namespace contrail::worker
