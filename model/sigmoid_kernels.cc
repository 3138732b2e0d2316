#include "model/sigmoid_kernels.h"

#include "model/loss_vector.h"

namespace contrail::model::loss {
namespace {

// e <- log(1 + e) for 0 <= e <= 1, relative error under 2e-7: 2 atanh(z) with z = e / (2 + e) <=
// 1/3.
CONTRAIL_INLINE void Log1p(Floats& e) {
  const Floats z = e / (e + 2.0f);
  const Floats q = z * z;
  Floats y = q * (1.0f / 15) + 1.0f / 13;
  y = y * q + 1.0f / 11;
  y = y * q + 1.0f / 9;
  y = y * q + 1.0f / 7;
  y = y * q + 1.0f / 5;
  y = y * q + 1.0f / 3;
  y = y * q + 1.0f;
  e = z * y * 2.0f;
}

CONTRAIL_VECTORIZED
void SigmoidAndSumRows(const Tile& tile, int64_t begin, int64_t end, float s, float bias,
                       double* row_loss, double* row_weight, float* row_max, float* column_max) {
  const Floats zero = {};
  for (int64_t i = begin; i < end; ++i) {
    float* row = tile.data + i * tile.stride;
    Floats loss = {};
    Floats weight = {};
    Floats maximum = zero + kMasked;
    for (int64_t j = 0; j < tile.columns; j += kLanes) {
      const Floats x = At(row + j);
      Raise(maximum, x);
      Raise(At(column_max + j), x);
      const Floats l = x * s + bias;
      Floats e = l > zero ? -l : l;
      Exp(e);  // exp(-|l|)
      const Floats inverse = 1.0f / (e + 1.0f);
      const Floats sigmoid = l > zero ? inverse : e * inverse;
      At(row + j) = sigmoid;
      Log1p(e);
      loss += (l > zero ? l : zero) + e;
      weight += sigmoid;
    }
    alignas(64) float lanes[kLanes];
    At(lanes) = loss;
    row_loss[i] += SumOfLanes(lanes);
    At(lanes) = weight;
    row_weight[i] += SumOfLanes(lanes);
    At(lanes) = maximum;
    row_max[i] = MaxOfLanes(lanes, row_max[i]);
  }
}

CONTRAIL_VECTORIZED
void SigmoidRows(const Tile& tile, int64_t begin, int64_t end, float s, float bias,
                 float* row_max) {
  const Floats zero = {};
  for (int64_t i = begin; i < end; ++i) {
    float* row = tile.data + i * tile.stride;
    Floats maximum = zero + kMasked;
    for (int64_t j = 0; j < tile.columns; j += kLanes) {
      const Floats x = At(row + j);
      Raise(maximum, x);
      const Floats l = x * s + bias;
      Floats e = l > zero ? -l : l;
      Exp(e);
      const Floats inverse = 1.0f / (e + 1.0f);
      At(row + j) = l > zero ? inverse : e * inverse;
    }
    alignas(64) float lanes[kLanes];
    At(lanes) = maximum;
    row_max[i] = MaxOfLanes(lanes, row_max[i]);
  }
}

}  // namespace

void SigmoidAndSum(Tile tile, float s, float bias, double* row_loss, double* row_weight,
                   float* row_max, float* column_max, float* partial) {
  const auto maxima_of = [&](int64_t begin) {
    return partial + begin / kRowBlock * 2 * tile.stride;
  };
  ForRowBlocks(tile, [&](int64_t begin, int64_t end) {
    float* maxima = maxima_of(begin);
    std::fill(maxima, maxima + tile.stride, kMasked);
    SigmoidAndSumRows(tile, begin, end, s, bias, row_loss, row_weight, row_max, maxima);
  });
  for (int64_t begin = 0; begin < tile.rows; begin += kRowBlock) {
    const float* maxima = maxima_of(begin);
    for (int64_t j = 0; j < tile.columns; ++j) column_max[j] = std::max(column_max[j], maxima[j]);
  }
}

void Sigmoid(Tile tile, float s, float bias, float* row_max) {
  ForRowBlocks(
      tile, [&](int64_t begin, int64_t end) { SigmoidRows(tile, begin, end, s, bias, row_max); });
}

}  // namespace contrail::model::loss
