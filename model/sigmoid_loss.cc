#include "model/sigmoid_loss.h"

#include "common/error.h"
#include "model/loss_tiles.h"
#include "model/sigmoid_kernels.h"

namespace contrail::model {
namespace {

double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

struct SigmoidLoss::Scratch {
  Scratch(int64_t own_rows, int64_t global_rows, int64_t embed_dim, int64_t tile_size)
      : b(own_rows),
        B(global_rows),
        D(embed_dim),
        tiles(own_rows, global_rows, tile_size),
        column_max(global_rows),
        own_cosine(own_rows),
        best_other(own_rows),
        row_loss(own_rows),
        row_weight(own_rows) {}

  void Pass(const loss::Side& side, bool image_side, at::Tensor d_rows, at::Tensor d_columns);
  double Diagonal(int64_t i) const { return s * own_cosine[i] + bias; }  // logit of an own pair

  const int64_t b, B, D;
  loss::Tiles tiles;
  double s = 1;
  double bias = 0;
  int64_t offset = 0;

  std::vector<float> column_max;  // over own rows, without the diagonal
  std::vector<float> own_cosine;  // <I_i, T_i>
  std::vector<float> best_other;
  std::vector<double> row_loss;    // sums over the columns of others
  std::vector<double> row_weight;  // ... of sigmoid(l)
};

// d_rows = s/B G columns and, where d_columns is defined (N = 1: all rows are here),
// d_columns = s/B G^T rows. The image side adds up the loss as well.
void SigmoidLoss::Scratch::Pass(const loss::Side& side, bool image_side, at::Tensor d_rows,
                                at::Tensor d_columns) {
  const double factor = s / static_cast<double>(B);
  std::fill(best_other.begin(), best_other.end(), loss::kMasked);
  d_rows.zero_();
  if (d_columns.defined()) d_columns.zero_();
  tiles.ForAll(side, true, [&](const loss::Place& place) {
    loss::Tiles::ForDiagonal(place, offset, [&](int64_t i, float& x) {
      own_cosine[i] = x;
      x = loss::kMasked;
    });
    float* best = best_other.data() + place.row;
    const auto scale = static_cast<float>(s);
    const auto shift = static_cast<float>(bias);
    if (image_side) {
      loss::SigmoidAndSum(place.tile, scale, shift, row_loss.data() + place.row,
                          row_weight.data() + place.row, best, column_max.data() + place.column,
                          tiles.partial());
    } else {
      loss::Sigmoid(place.tile, scale, shift, best);
    }
    loss::Tiles::ForDiagonal(place, offset, [&](int64_t i, float& x) {
      x = static_cast<float>(-Sigmoid(-Diagonal(i)));
    });
    loss::AddToRows(place, side, d_rows);
    if (d_columns.defined()) loss::AddToColumns(place, side, d_columns);
  });
  d_rows.mul_(factor);
  if (d_columns.defined()) d_columns.mul_(factor);
}

SigmoidLoss::SigmoidLoss(int64_t own_rows, int64_t global_rows, int64_t embed_dim, int64_t tile)
    : scratch_(std::make_unique<Scratch>(own_rows, global_rows, embed_dim, tile)) {
  CONTRAIL_ASSERT(own_rows > 0 && global_rows >= own_rows && tile > 0);
}

SigmoidLoss::~SigmoidLoss() = default;

LossOutput SigmoidLoss::Compute(const LossInput& input, at::Tensor d_image, at::Tensor d_text,
                                const SumOverRanks& sum) {
  Scratch& k = *scratch_;
  loss::CheckInput(input, k.b, k.B, k.D, d_image);
  k.s = input.scale;
  k.bias = input.bias;
  k.offset = input.offset;
  const bool alone = k.b == k.B;

  LossOutput output;
  std::fill(k.row_loss.begin(), k.row_loss.end(), 0.0);
  std::fill(k.row_weight.begin(), k.row_weight.end(), 0.0);
  std::fill(k.column_max.begin(), k.column_max.end(), loss::kMasked);
  k.Pass({input.image, input.text_all}, true, d_image, alone ? d_text : at::Tensor());
  double loss = 0;
  double d_bias = 0;
  for (int64_t i = 0; i < k.b; ++i) {
    loss += k.row_loss[i] + Softplus(-k.Diagonal(i));
    d_bias += k.row_weight[i] - Sigmoid(-k.Diagonal(i));
  }
  output.correct_image_to_text = loss::CountCorrect(k.own_cosine, k.best_other.data());
  if (alone) {
    output.correct_text_to_image = loss::CountCorrect(k.own_cosine, k.column_max.data());
  } else {
    k.Pass({input.text, input.image_all}, false, d_text, at::Tensor());
    output.correct_text_to_image = loss::CountCorrect(k.own_cosine, k.best_other.data());
  }

  at::Tensor total = at::empty({3}, at::kDouble);
  double* values = total.mutable_data_ptr<double>();
  values[0] = loss / static_cast<double>(k.B);
  values[1] = loss::Dot(input.image, d_image) / input.scale;
  values[2] = d_bias / static_cast<double>(k.B);
  sum(total);
  output.loss = values[0];
  output.d_scale = values[1];
  output.d_bias = values[2];
  return output;
}

}  // namespace contrail::model
