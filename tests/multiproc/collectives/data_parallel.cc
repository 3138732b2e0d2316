// Gradients of the real tiny towers: reduce-scattered over N ranks they equal those of one rank
// that sees the whole batch, and the weights after a step are the same on all ranks.

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "common/rng.h"
#include "model/clip.h"
#include "model/contrastive_loss.h"
#include "tests/model/loss_oracle.h"
#include "tests/multiproc/collectives/mpi_main.h"
#include "worker/flat.h"
#include "worker/optimizer.h"

namespace contrail::worker {
namespace {

constexpr int64_t kBatch = 32;
constexpr int64_t kTokens = 9;  // a caption's length, start and end included

struct Replica {
  Replica(int rank, int size, at::ScalarType type)
      : model(model::ClipModel::Create(model::FindModel("tiny-vit"))),
        flat(model->params(), rank, size, {.bucket_bytes = 1 << 20, .matrix_type = type}) {
    for (size_t i = 0; i < model->params().size(); ++i) {
      at::Tensor value = at::empty(model->params()[i].shape);
      model::InitParam(model->params()[i], 3, value);
      flat.SetWeight(i, value);
    }
    model->Bind(flat.views());
    model->Plan(kBatch / size, kBatch / size * kTokens, true);
  }
  std::unique_ptr<model::ClipModel> model;
  FlatParams flat;
};

at::Tensor Images(int64_t first, int64_t count) {
  at::Tensor images = at::empty({count, 3, 28, 28}, at::kByte);
  for (int64_t i = 0; i < count; ++i) {
    RandomStream draws(1, static_cast<uint64_t>(first + i), 0);
    uint8_t* pixels = images[i].data_ptr<uint8_t>();
    for (int64_t p = 0; p < 3 * 28 * 28; ++p)
      pixels[p] = static_cast<uint8_t>(draws.NextBelow(256));
  }
  return images;
}

model::TextBatch Texts(int64_t first, int64_t count) {
  model::TextBatch texts{at::empty({count * kTokens}, at::kInt),
                         at::arange(count + 1, at::kInt) * kTokens};
  int32_t* ids = texts.token_ids.data_ptr<int32_t>();
  for (int64_t i = 0; i < count; ++i) {
    RandomStream draws(2, static_cast<uint64_t>(first + i), 0);
    ids[i * kTokens] = 49406;
    for (int64_t t = 1; t + 1 < kTokens; ++t) {
      ids[i * kTokens + t] = static_cast<int32_t>(draws.NextBelow(49406));
    }
    ids[i * kTokens + kTokens - 1] = 49407;
  }
  return texts;
}

// One step's gradients, with buckets reduced as they become ready.
double Gradients(Replica& replica, Comm& comm) {
  const int64_t b = kBatch / comm.size();
  const int64_t offset = comm.rank() * b;
  const int64_t D = replica.model->spec().embed_dim;
  at::Tensor image = at::empty({b, D}, at::kFloat);
  at::Tensor text = at::empty({b, D}, at::kFloat);
  replica.model->ForwardImages(Images(offset, b), image, model::Keep::kYes);
  replica.model->ForwardTexts(Texts(offset, b), text, model::Keep::kYes);
  at::Tensor all = at::empty({kBatch, 2 * D}, at::kFloat);
  comm.AllGather(all, at::cat({image, text}, 1));

  model::LossInput input;
  input.image = image;
  input.text = text;
  input.image_all = all.narrow(1, 0, D);
  input.text_all = all.narrow(1, D, D);
  input.offset = offset;
  input.scale = 1 / 0.07;
  at::Tensor d_image = at::empty({b, D}, at::kFloat);
  at::Tensor d_text = at::empty({b, D}, at::kFloat);
  model::ContrastiveLoss loss(b, kBatch, D);
  const model::LossOutput output =
      loss.Compute(input, d_image, d_text, [&](at::Tensor tensor) { comm.AllReduceSum(tensor); });

  FlatParams& flat = replica.flat;
  flat.ZeroGrads();
  flat.StartBackward();
  if (comm.rank() == 0) flat.views().grads.back().fill_(output.d_scale * input.scale);
  int reduced = 0;
  const auto done = [&](int group) {
    for (const int bucket : flat.GroupDone(group)) {
      comm.ReduceScatterSum(flat.own_grads(bucket), flat.grads(bucket));
      ++reduced;
    }
  };
  const auto& params = replica.model->params();
  bool scale_shares_group = false;
  for (size_t i = 0; i + 1 < params.size(); ++i) {
    scale_shares_group |= params[i].group == params.back().group;
  }
  if (!scale_shares_group) done(params.back().group);
  replica.model->BackwardTexts(d_text, done);
  replica.model->BackwardImages(d_image, done);
  EXPECT_EQ(reduced, flat.num_buckets());
  return output.loss;
}

// In 16 bits, too: there the last bits in which losses of several ranks differ decide which way
// some numbers are rounded, and every rounding after that, so gradients agree to half a unit
// roundoff.
class DataParallel : public testing::TestWithParam<at::ScalarType> {
 protected:
  static double Tolerance() {
    return GetParam() == at::kBFloat16 ? 0x1p-9 : GetParam() == at::kHalf ? 0x1p-12 : 1e-6;
  }
};
INSTANTIATE_TEST_SUITE_P(Types, DataParallel,
                         testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

TEST_P(DataParallel, GradientsEqualThoseOfOneRank) {
  const c10::InferenceMode inference;
  Replica whole(0, 1, GetParam());
  const auto alone = MakeSingleComm();
  const double loss_alone = Gradients(whole, *alone);

  Replica shard(World().rank(), World().size(), GetParam());
  const double loss = Gradients(shard, World());
  EXPECT_NEAR(loss, loss_alone, 1e-6 * loss_alone);
  const double norm = GlobalGradNorm(whole.flat, *alone);
  EXPECT_NEAR(GlobalGradNorm(shard.flat, World()), norm, Tolerance() * std::max(1.0, norm));

  // Every parameter, whole: gather the reduced slices.
  for (int bucket = 0; bucket < shard.flat.num_buckets(); ++bucket) {
    World().AllGather(shard.flat.grads(bucket), shard.flat.own_grads(bucket));
  }
  const auto& params = whole.model->params();
  for (size_t i = 0; i < params.size(); ++i) {
    const at::Tensor expected = whole.flat.views().grads[i];
    const at::Tensor actual = shard.flat.views().grads[i];
    const double error = (actual - expected).norm().item<double>();
    // Relative to the parameter; parameters whose gradient is rounding only (keys' biases), to the
    // size of gradients at large.
    EXPECT_LT(error, Tolerance() * expected.norm().item<double>() + 1e-7) << params[i].name;
  }
}

TEST_P(DataParallel, RanksHoldTheSameWeightsAfterSteps) {
  const c10::InferenceMode inference;
  Replica shard(World().rank(), World().size(), GetParam());
  for (uint64_t t = 1; t <= 3; ++t) {
    Gradients(shard, World());
    const double clip = ClipScale(GlobalGradNorm(shard.flat, World()), 1.0);
    for (int bucket = 0; bucket < shard.flat.num_buckets(); ++bucket) {
      AdamWStep(shard.flat, bucket, {}, t, 1e-3, clip);
      World().AllGather(shard.flat.weights(bucket), shard.flat.own_working(bucket));
    }
    ClampLogitScale(shard.flat.views().weights.back(), 100);
  }
  for (int bucket = 0; bucket < shard.flat.num_buckets(); ++bucket) {
    at::Tensor of_root = shard.flat.weights(bucket).clone();
    World().Broadcast(of_root, 0);
    EXPECT_TRUE(at::equal(of_root, shard.flat.weights(bucket)));
    const at::Tensor working = shard.flat.own_working(bucket);
    EXPECT_TRUE(working.equal(shard.flat.own_weights(bucket).to(working.scalar_type())));
  }
}

}  // namespace
}  // namespace contrail::worker
