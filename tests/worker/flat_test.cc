#include "worker/flat.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "model/clip.h"
#include "model/registry.h"

namespace contrail::worker {
namespace {

// A model's list in small: odd sizes, a scalar, decaying and other parameters, groups 0 to 4.
std::vector<model::ParamSpec> Params() {
  const auto param = [](std::string name, std::vector<int64_t> shape, bool decay, int group) {
    model::ParamSpec spec;
    spec.name = std::move(name);
    spec.shape = std::move(shape);
    spec.decay = decay;
    spec.group = group;
    spec.matrix = decay && spec.name != "token_embedding";
    return spec;
  };
  return {param("conv1.weight", {5, 3, 7, 7}, true, 0), param("class_embedding", {5}, false, 0),
          param("block.0.weight", {33, 5}, true, 1),    param("block.0.bias", {33}, false, 1),
          param("block.1.weight", {40, 16}, true, 2),   param("block.1.bias", {40}, false, 2),
          param("token_embedding", {101, 7}, true, 3),  param("logit_scale", {}, false, 4)};
}

constexpr FlatParams::Options kSmallBuckets = {.bucket_bytes = 4096, .training = true};

// Values that tell every logical element apart.
std::vector<float> Numbered(int64_t count, float first) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

class FlatRanks : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Sizes, FlatRanks, testing::Values(1, 2, 3, 4, 8, 64));

TEST_P(FlatRanks, RangesAreAscendingDisjointAndCoverTheSpace) {
  const int size = GetParam();
  const FlatParams flat(Params(), 0, size, kSmallBuckets);
  std::vector<int> owners(flat.num_elements(), 0);
  for (int rank = 0; rank < size; ++rank) {
    uint64_t last = 0;
    bool first = true;
    for (const ckpt::Range& range : flat.RangesOf(rank)) {
      EXPECT_LT(range.begin, range.end);
      EXPECT_TRUE(first || range.begin > last) << "touching ranges are one range";
      for (uint64_t i = range.begin; i < range.end; ++i) ++owners.at(i);
      last = range.end;
      first = false;
    }
  }
  for (int count : owners) EXPECT_EQ(count, 1);
}

TEST_P(FlatRanks, EveryRankComputesTheSameRanges) {
  const int size = GetParam();
  const FlatParams zero(Params(), 0, size, kSmallBuckets);
  const FlatParams last(Params(), size - 1, size, kSmallBuckets);
  for (int rank = 0; rank < size; ++rank) {
    const auto a = zero.RangesOf(rank);
    const auto b = last.RangesOf(rank);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].begin, b[i].begin);
      EXPECT_EQ(a[i].end, b[i].end);
    }
  }
}

TEST_P(FlatRanks, BucketsArePaddedAlignedAndWholeGroups) {
  const int size = GetParam();
  FlatParams flat(Params(), 0, size, kSmallBuckets);
  ASSERT_GT(flat.num_buckets(), 1);
  for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
    EXPECT_EQ(flat.weights(bucket).numel() % (16 * size), 0);
    EXPECT_EQ(flat.own_weights(bucket).numel() * size, flat.weights(bucket).numel());
    EXPECT_EQ(flat.own_exp_avg(bucket).numel(), flat.own_grads(bucket).numel());
  }
  for (const at::Tensor& view : flat.views().weights) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data_ptr()) % 64, 0u);
    EXPECT_TRUE(view.is_contiguous());
  }
}

TEST_P(FlatRanks, OwnDataGoesOutAndIn) {
  const int size = GetParam();
  const int64_t total = FlatParams(Params(), 0, size, kSmallBuckets).num_elements();
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind) {
    const std::vector<float> logical = Numbered(total, 1 + 10000.0f * static_cast<float>(kind));
    std::vector<float> collected(total, -1);
    for (int rank = 0; rank < size; ++rank) {
      FlatParams flat(Params(), rank, size, kSmallBuckets);
      std::vector<float> own;
      for (const ckpt::Range& range : flat.RangesOf(rank)) {
        own.insert(own.end(), logical.begin() + range.begin, logical.begin() + range.end);
      }
      ASSERT_EQ(static_cast<int64_t>(own.size()), flat.own_elements());
      flat.ImportOwn(kind, own.data());
      std::vector<float> back(own.size(), -1);
      flat.ExportOwn(kind, back.data());
      EXPECT_EQ(back, own);
      // Padding stays zero: nothing but the own elements is set.
      double sum = 0;
      for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
        const at::Tensor slice = kind == 0   ? flat.own_weights(bucket)
                                 : kind == 1 ? flat.own_exp_avg(bucket)
                                             : flat.own_exp_avg_sq(bucket);
        sum += slice.sum(at::kDouble).item<double>();
      }
      EXPECT_EQ(sum, std::accumulate(own.begin(), own.end(), 0.0));
      if (kind > 0) continue;
      // A weight lands where its parameter's view is.
      for (size_t i = 0; i < flat.views().weights.size(); ++i) {
        const at::Tensor view = flat.views().weights[i].flatten();
        for (int64_t j = 0; j < view.numel(); ++j) {
          const float value = view[j].item<float>();
          const int64_t place = static_cast<int64_t>(flat.layout().tensors[i].begin) + j;
          EXPECT_TRUE(value == 0 || value == logical[place]);
          if (value != 0) collected[place] = value;
        }
      }
    }
    if (kind == 0) {
      EXPECT_EQ(collected, logical) << "together the ranks hold every weight";
    }
  }
}

TEST(Flat, ElasticReload) {
  // 4 ranks write, 3 ranks read: the logical space is the meeting point.
  const int64_t total = FlatParams(Params(), 0, 1).num_elements();
  const std::vector<float> logical = Numbered(total, 1);
  std::vector<float> disk(total, 0);
  for (int rank = 0; rank < 4; ++rank) {
    FlatParams flat(Params(), rank, 4, kSmallBuckets);
    flat.ImportWeights(logical.data());
    std::vector<float> own(flat.own_elements());
    flat.ExportOwn(0, own.data());
    const float* next = own.data();
    for (const ckpt::Range& range : flat.RangesOf(rank)) {
      std::copy(next, next + (range.end - range.begin), disk.begin() + range.begin);
      next += range.end - range.begin;
    }
  }
  EXPECT_EQ(disk, logical);
  FlatParams other(Params(), 2, 3);
  other.ImportWeights(disk.data());
  std::vector<float> back(total);
  other.ExportWeights(back.data());
  EXPECT_EQ(back, logical);
}

TEST(Flat, LayoutIsTheListOfParametersWithoutGaps) {
  const FlatParams flat(Params(), 1, 4);
  const auto params = Params();
  uint64_t next = 0;
  ASSERT_EQ(flat.layout().tensors.size(), params.size());
  for (size_t i = 0; i < params.size(); ++i) {
    const ckpt::TensorInfo& tensor = flat.layout().tensors[i];
    EXPECT_EQ(tensor.name, params[i].name);
    EXPECT_EQ(tensor.shape, params[i].shape);
    EXPECT_EQ(tensor.begin, next);
    next += tensor.num_elements;
  }
  EXPECT_EQ(flat.layout().num_elements, next);
  EXPECT_EQ(flat.layout().tensors.back().num_elements, 1u);  // a scalar has one element
}

TEST(Flat, BucketsBecomeReadyWhenTheirLastGroupIs) {
  FlatParams flat(Params(), 0, 2, kSmallBuckets);
  for (int round = 0; round < 2; ++round) {
    flat.StartBackward();
    std::vector<int> ready;
    for (int group : {4, 3, 2, 1, 0}) {
      for (const int bucket : flat.GroupDone(group)) ready.push_back(bucket);
    }
    std::vector<int> all(flat.num_buckets());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(ready, all) << "reverse order of use completes buckets in order";
  }
  // Another order: each bucket still exactly once.
  flat.StartBackward();
  std::set<int> ready;
  for (int group : {1, 0, 4, 2, 3}) {
    for (const int bucket : flat.GroupDone(group)) EXPECT_TRUE(ready.insert(bucket).second);
  }
  EXPECT_EQ(static_cast<int>(ready.size()), flat.num_buckets());
  EXPECT_ANY_THROW(flat.GroupDone(3)) << "a group reported twice";
  EXPECT_ANY_THROW(flat.GroupDone(17)) << "a group that does not exist";
}

TEST(Flat, RunsAreTheOwnSliceWithoutPadding) {
  const auto params = Params();
  for (int rank = 0; rank < 4; ++rank) {
    FlatParams flat(params, rank, 4, kSmallBuckets);
    // Every weight holds its place in the logical space; the runs say which that is.
    std::vector<float> places(flat.num_elements());
    std::iota(places.begin(), places.end(), 0.0f);
    flat.ImportWeights(places.data());
    int64_t covered = 0;
    for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
      const at::Tensor own = flat.own_weights(bucket);
      int64_t next = 0;
      for (const FlatParams::Run& run : flat.own_runs(bucket)) {
        EXPECT_GE(run.begin, next);
        EXPECT_LE(run.count, FlatParams::kLongestRun);
        next = run.begin + run.count;
        covered += run.count;
        const float* weight = own.const_data_ptr<float>() + run.begin;
        size_t param = 0;
        while (static_cast<int64_t>(flat.layout().tensors[param].begin +
                                    flat.layout().tensors[param].num_elements) <= run.logical) {
          ++param;
        }
        EXPECT_EQ(run.decay, params[param].decay);
        for (int64_t i = 0; i < run.count; ++i) {
          ASSERT_EQ(weight[i], static_cast<float>(run.logical + i));
        }
      }
      EXPECT_LE(next, own.numel());
    }
    EXPECT_EQ(covered, flat.own_elements());
  }
}

TEST(Flat, HalfPrecisionMomentsAndTextWeightsSaveTheirBytes) {
  const auto params = model::ClipModel::Create(model::FindModel("tiny-vit"))->params();
  const auto bytes = [&](const FlatParams::Options& options) {
    return static_cast<double>(FlatParams(params, 0, 4, options).optimizer_bytes());
  };
  double text = 0, matrices = 0, all = 0;
  for (const model::ParamSpec& spec : params) {
    const auto count = static_cast<double>(model::NumElements(spec));
    all += count;
    if (!spec.matrix) continue;
    matrices += count;
    if (!spec.name.starts_with("visual.")) text += count;
  }
  ASSERT_GT(text, 0);
  EXPECT_NEAR(bytes({}), 8 * all / 4, 0.01 * all);
  EXPECT_NEAR(bytes({.moment_type = at::kBFloat16}), 4 * all / 4, 0.01 * all);
  EXPECT_NEAR(bytes({.matrix_type = at::kBFloat16}), (8 * all + 4 * matrices) / 4, 0.01 * all);
  EXPECT_NEAR(
      bytes({.matrix_type = at::kBFloat16, .moment_type = at::kBFloat16, .text_masters = false}),
      (4 * all + 4 * (matrices - text)) / 4, 0.01 * all);
}

TEST(Flat, ViewsShareTheBuckets) {
  FlatParams flat(Params(), 0, 2, kSmallBuckets);
  flat.views().grads[6].fill_(3);
  double sum = 0;
  for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
    sum += flat.grads(bucket).sum().item<double>();
  }
  EXPECT_EQ(sum, 3 * 101 * 7);
  flat.ZeroGrads();
  EXPECT_EQ(flat.views().grads[6].abs().max().item<float>(), 0);
}

TEST(Flat, InferenceHoldsWeightsOnly) {
  const FlatParams training(Params(), 0, 1);
  const FlatParams inference(Params(), 0, 1, {.bucket_bytes = 64 << 20, .training = false});
  EXPECT_TRUE(inference.views().grads.empty());
  EXPECT_EQ(training.bytes(), 4 * inference.bytes());
}

// What a 16-bit run of one rank looks like: matrices apart, in buckets of their own.
TEST_P(FlatRanks, MatricesAreHeldInSixteenBitsAndMastersInSlices) {
  const int size = GetParam();
  const auto params = Params();
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    FlatParams::Options options = kSmallBuckets;
    options.matrix_type = type;
    FlatParams flat(params, size - 1, size, options);
    const std::vector<float> logical = Numbered(flat.num_elements(), 0.1f);
    flat.ImportWeights(logical.data());
    for (size_t i = 0; i < params.size(); ++i) {
      const at::Tensor view = flat.views().weights[i].flatten();
      EXPECT_EQ(view.scalar_type(), params[i].matrix ? type : at::kFloat) << params[i].name;
      const at::Tensor exact =
          at::from_blob(const_cast<float*>(logical.data()) + flat.layout().tensors[i].begin,
                        {view.numel()}, at::kFloat);
      EXPECT_TRUE(view.equal(exact.to(view.scalar_type()))) << params[i].name;
      EXPECT_EQ(flat.views().grads[i].scalar_type(), at::kFloat);
    }
    // Masters keep every digit, and go out as they came in.
    std::vector<float> own(flat.own_elements()), expected;
    flat.ExportOwn(0, own.data());
    for (const ckpt::Range& range : flat.RangesOf(flat.rank())) {
      expected.insert(expected.end(), logical.begin() + range.begin, logical.begin() + range.end);
    }
    EXPECT_EQ(own, expected);
    // Own masters through a checkpoint: rounding them is what the others gather.
    flat.ImportOwn(0, expected.data());
    for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
      const at::Tensor before = flat.own_working(bucket).clone();
      flat.own_working(bucket).zero_();
      if (flat.own_weights(bucket).data_ptr() == flat.own_working(bucket).data_ptr()) {
        flat.own_working(bucket).copy_(before);
      }
      flat.RoundOwn(bucket);
      EXPECT_TRUE(flat.own_working(bucket).equal(before));
      EXPECT_EQ(flat.own_weights(bucket).scalar_type(), at::kFloat);
    }
  }
}

// 2 bytes a matrix element to work with, 4 of gradient, and 12 / N of masters and moments.
TEST(Flat, SixteenBitsTakeTheMemoryTheyShould) {
  std::vector<model::ParamSpec> params = Params();
  params.resize(1);
  params[0].shape = {1024, 1024};
  const int64_t elements = 1 << 20;
  for (const int size : {1, 4}) {
    EXPECT_EQ(FlatParams(params, 0, size).bytes(), elements * (4 + 4 + 8 / size));
    FlatParams::Options options;
    options.matrix_type = at::kBFloat16;
    EXPECT_EQ(FlatParams(params, 0, size, options).bytes(), elements * (2 + 4 + 12 / size));
  }
}

TEST(Flat, BucketsOfBothTypesAreCompleteInOrder) {
  FlatParams::Options options = kSmallBuckets;
  options.matrix_type = at::kBFloat16;
  FlatParams flat(Params(), 0, 2, options);
  std::vector<int> ready, all(flat.num_buckets());
  std::iota(all.begin(), all.end(), 0);
  for (int group : {4, 3, 2, 1, 0}) {
    for (const int bucket : flat.GroupDone(group)) ready.push_back(bucket);
  }
  EXPECT_EQ(ready, all);
}

}  // namespace
}  // namespace contrail::worker
