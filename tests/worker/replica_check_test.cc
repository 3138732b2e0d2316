// Comparing replicas: who is odd, and what a hash of the weights sees.
#include "worker/replica_check.h"

#include <gmock/gmock.h>

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(OddRanks, AreThoseOutsideTheMajority) {
  EXPECT_THAT(OddRanks({7}), IsEmpty());
  EXPECT_THAT(OddRanks({7, 7, 7, 7}), IsEmpty());
  EXPECT_THAT(OddRanks({7, 7, 9, 7}), ElementsAre(2));
  EXPECT_THAT(OddRanks({1, 7, 7, 2, 7}), ElementsAre(0, 3));
  EXPECT_THAT(OddRanks({1, 2}), ElementsAre(0, 1)) << "nobody has a majority";
  EXPECT_THAT(OddRanks({1, 1, 2, 2}), ElementsAre(0, 1, 2, 3));
}

TEST(HashOfWeights, SeesEverySingleBit) {
  std::vector<model::ParamSpec> params(3);
  params[0] = {.name = "a", .shape = {701, 97}, .decay = true, .group = 0};
  params[1] = {.name = "b", .shape = {5}, .group = 1};
  params[2] = {.name = "logit_scale", .shape = {}, .group = 2};
  FlatParams flat(params, 0, 1, {.bucket_bytes = 1 << 17});
  ASSERT_GT(flat.num_buckets(), 1);
  for (size_t i = 0; i < params.size(); ++i) flat.SetWeight(i, at::randn(params[i].shape));
  const uint32_t whole = HashOfWeights(flat);
  EXPECT_EQ(HashOfWeights(flat), whole);
  for (const at::Tensor& view : flat.views().weights) {
    auto* words = static_cast<uint32_t*>(view.data_ptr());
    for (const int64_t at : {int64_t{0}, view.numel() / 2, view.numel() - 1}) {
      for (const int bit : {0, 22, 31}) {
        words[at] ^= 1u << bit;
        EXPECT_NE(HashOfWeights(flat), whole);
        words[at] ^= 1u << bit;
      }
    }
  }
  EXPECT_EQ(HashOfWeights(flat), whole);
}

}  // namespace
}  // namespace contrail::worker
