#include "model/contrastive_loss.h"

#include "common/error.h"
#include "model/loss_tiles.h"

namespace contrail::model {
namespace {

// A sum of exp(l - s/2) below it may have lost terms to underflow (1e-38 each).
constexpr double kLeastSum = 1e-25;

// log(e^a + e^b)
double LogAddExp(double a, double b) {
  const double top = std::max(a, b);
  return top + std::log1p(std::exp(std::min(a, b) - top));
}

}  // namespace

// Legend: "row" is the image -> text direction, "column" text -> image. Sums of others leave the
// diagonal term out.
struct ContrastiveLoss::Scratch {
  Scratch(int64_t own_rows, int64_t global_rows, int64_t embed_dim, int64_t tile_size)
      : b(own_rows),
        B(global_rows),
        D(embed_dim),
        tiles(own_rows, global_rows, tile_size),
        global(at::empty({3, B}, at::kDouble)),
        column_max(B),
        row_weight(at::zeros({loss::PadToLanes(B)}, at::kFloat)),
        column_weight(at::zeros({loss::PadToLanes(B)}, at::kFloat)),
        own_cosine(b),
        diagonal(b),
        best_other(b),
        shift(b),
        sum(b) {}

  using Side = loss::Side;
  using Place = loss::Place;
  template <typename Visit>
  void ForDiagonal(const Place& place, const Visit& visit) const {
    loss::Tiles::ForDiagonal(place, offset, visit);
  }

  void SumPass(const LossInput& input);
  bool UnderflowPossible() const;
  void ShiftedPass(const Side& side, double* log_of_others);
  double WeighSums();
  double WeighShifted();
  void GradientPass(const Side& side, bool image_side, at::Tensor d_rows, at::Tensor d_columns);

  double* row_others() { return global.data_ptr<double>(); }
  double* column_others() { return row_others() + B; }
  double* own_logits() { return row_others() + 2 * B; }  // l_ii of the global batch

  const int64_t b, B, D;
  loss::Tiles tiles;
  float s = 1;
  int64_t offset = 0;
  bool shifted = false;

  at::Tensor global;                     // [3, B], summed over ranks
  std::vector<float> column_max;         // over own rows
  at::Tensor row_weight, column_weight;  // 1 / sum, or logsumexp on the shifted path
  std::vector<float> own_cosine;         // <I_i, T_i>
  std::vector<float> diagonal;           // p^row_ii + p^col_ii - 2
  std::vector<float> best_other;
  std::vector<double> shift, sum;
};

void ContrastiveLoss::Scratch::SumPass(const LossInput& input) {
  global.zero_();
  std::fill(column_max.begin(), column_max.end(), loss::kMasked);
  std::fill(best_other.begin(), best_other.end(), loss::kMasked);
  tiles.ForAll({input.image, input.text_all}, true, [&](const Place& place) {
    ForDiagonal(place, [&](int64_t i, float& x) {
      own_cosine[i] = x;
      own_logits()[offset + i] = static_cast<double>(s) * x;
      x = loss::kMasked;
    });
    loss::ExpAndSum(place.tile, s, row_others() + offset + place.row, best_other.data() + place.row,
                    column_others() + place.column, column_max.data() + place.column,
                    tiles.partial());
  });
}

bool ContrastiveLoss::Scratch::UnderflowPossible() const {
  const double* values = global.data_ptr<double>();
  for (int64_t i = 0; i < B; ++i) {
    const double own = std::exp(values[2 * B + i] - s / 2);
    if (values[i] + own < kLeastSum || values[B + i] + own < kLeastSum) return true;
  }
  return false;
}

// Weights of the gradient from plain sums; returns the loss of the global batch.
double ContrastiveLoss::Scratch::WeighSums() {
  double total = 0;
  for (int64_t i = 0; i < B; ++i) {
    const double own = std::exp(own_logits()[i] - s / 2);
    const double row = row_others()[i] + own;
    const double column = column_others()[i] + own;
    row_weight.data_ptr<float>()[i] = static_cast<float>(1 / row);
    column_weight.data_ptr<float>()[i] = static_cast<float>(1 / column);
    total += std::log1p(row_others()[i] / own) + std::log1p(column_others()[i] / own);
    if (i >= offset && i < offset + b) {
      diagonal[i - offset] =
          static_cast<float>(-(row_others()[i] / row + column_others()[i] / column));
    }
  }
  return total / static_cast<double>(2 * B);
}

// log sum over j != i of exp(l_ij) for own rows.
void ContrastiveLoss::Scratch::ShiftedPass(const Side& side, double* log_of_others) {
  std::fill(shift.begin(), shift.end(), static_cast<double>(s) * loss::kMasked);
  std::fill(sum.begin(), sum.end(), 0.0);
  tiles.ForAll(side, true, [&](const Place& place) {
    ForDiagonal(place, [](int64_t, float& x) { x = loss::kMasked; });
    loss::ShiftedSum(place.tile, s, shift.data() + place.row, sum.data() + place.row);
  });
  for (int64_t i = 0; i < b; ++i) log_of_others[offset + i] = shift[i] + std::log(sum[i]);
}

double ContrastiveLoss::Scratch::WeighShifted() {
  double total = 0;
  for (int64_t i = 0; i < B; ++i) {
    const double row = LogAddExp(row_others()[i], own_logits()[i]);
    const double column = LogAddExp(column_others()[i], own_logits()[i]);
    row_weight.data_ptr<float>()[i] = static_cast<float>(row);
    column_weight.data_ptr<float>()[i] = static_cast<float>(column);
    total += row + column - 2 * own_logits()[i];
    if (i >= offset && i < offset + b) {
      diagonal[i - offset] = static_cast<float>(
          -(std::exp(row_others()[i] - row) + std::exp(column_others()[i] - column)));
    }
  }
  return total / static_cast<double>(2 * B);
}

// d_rows = s/(2B) G columns and, where d_columns is defined (N = 1: all rows are here),
// d_columns = s/(2B) G^T rows; G_ij = p^row_ij + p^col_ij - 2 delta_ij.
void ContrastiveLoss::Scratch::GradientPass(const Side& side, bool image_side, at::Tensor d_rows,
                                            at::Tensor d_columns) {
  const double factor = static_cast<double>(s) / static_cast<double>(2 * B);
  const float* of_rows = (image_side ? row_weight : column_weight).data_ptr<float>() + offset;
  const float* of_columns = (image_side ? column_weight : row_weight).data_ptr<float>();
  // One tile in all: the image side's exponentials are still there.
  const bool kept = image_side && !shifted && tiles.OneTile();
  if (!image_side) std::fill(best_other.begin(), best_other.end(), loss::kMasked);
  d_rows.zero_();
  if (d_columns.defined()) d_columns.zero_();
  tiles.ForAll(side, !kept, [&](const Place& place) {
    if (!image_side) {
      ForDiagonal(place, [&](int64_t i, float& x) {
        own_cosine[i] = x;
        x = loss::kMasked;
      });
    }
    const float* rows = of_rows + place.row;
    const float* columns = of_columns + place.column;
    float* best = best_other.data() + place.row;
    if (kept) {
      loss::Gradient(place.tile, rows, columns);
    } else if (shifted) {
      loss::ShiftedGradient(place.tile, s, rows, columns, best);
    } else {
      loss::ExpGradient(place.tile, s, rows, columns, best);
    }
    ForDiagonal(place, [&](int64_t i, float& x) { x = diagonal[i]; });

    loss::AddToRows(place, side, d_rows);
    if (d_columns.defined()) loss::AddToColumns(place, side, d_columns);
  });
  d_rows.mul_(factor);
  if (d_columns.defined()) d_columns.mul_(factor);
}

ContrastiveLoss::ContrastiveLoss(int64_t own_rows, int64_t global_rows, int64_t embed_dim,
                                 int64_t tile)
    : scratch_(std::make_unique<Scratch>(own_rows, global_rows, embed_dim, tile)) {
  CONTRAIL_ASSERT(own_rows > 0 && global_rows >= own_rows && tile > 0);
}

ContrastiveLoss::~ContrastiveLoss() = default;

LossOutput ContrastiveLoss::Compute(const LossInput& input, at::Tensor d_image, at::Tensor d_text,
                                    const SumOverRanks& sum) {
  Scratch& k = *scratch_;
  loss::CheckInput(input, k.b, k.B, k.D, d_image);
  k.s = static_cast<float>(input.scale);
  k.offset = input.offset;
  const bool alone = k.b == k.B;
  const Scratch::Side image_side = {input.image, input.text_all};
  const Scratch::Side text_side = {input.text, input.image_all};

  LossOutput output;
  k.SumPass(input);
  output.correct_image_to_text = loss::CountCorrect(k.own_cosine, k.best_other.data());
  if (alone) output.correct_text_to_image = loss::CountCorrect(k.own_cosine, k.column_max.data());
  sum(k.global);

  k.shifted = k.UnderflowPossible();  // the same answer on every rank
  if (k.shifted) {
    k.global.narrow(0, 0, 2).zero_();
    k.ShiftedPass(image_side, k.row_others());
    k.ShiftedPass(text_side, k.column_others());
    sum(k.global.narrow(0, 0, 2));
  }
  output.loss = k.shifted ? k.WeighShifted() : k.WeighSums();

  k.GradientPass(image_side, true, d_image, alone ? d_text : at::Tensor());
  if (!alone) {
    k.GradientPass(text_side, false, d_text, at::Tensor());
    output.correct_text_to_image = loss::CountCorrect(k.own_cosine, k.best_other.data());
  }
  at::Tensor d_scale = at::full({1}, loss::Dot(input.image, d_image) / input.scale, at::kDouble);
  sum(d_scale);
  output.d_scale = d_scale.item<double>();
  return output;
}

}  // namespace contrail::model
