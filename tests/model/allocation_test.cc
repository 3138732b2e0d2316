// After Plan, forward and backward allocate no tensor memory.
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/model/oracle.h"

namespace contrail::model {
namespace {

// Counts while it lives, then puts the process's allocator back.
class CountingAllocator final : public c10::Allocator {
 public:
  CountingAllocator() : inner_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 100); }
  ~CountingAllocator() override { c10::SetCPUAllocator(inner_, 100); }

  c10::DataPtr allocate(size_t n) override {
    ++count_;
    return inner_->allocate(n);
  }
  void copy_data(void* dest, const void* src, std::size_t count) const override {
    default_copy_data(dest, src, count);
  }
  int count() const { return count_; }

 private:
  c10::Allocator* inner_;
  std::atomic<int> count_ = 0;
};

struct Case {
  const char* model;
  at::ScalarType type;
};
class Allocation : public testing::TestWithParam<Case> {};

TEST_P(Allocation, NoneAfterPlan) {
  const ModelSpec spec = FindModel(GetParam().model);
  BoundModel m(ClipModel::Create(spec), GetParam().type);
  const at::Tensor images = RandomImages(8, spec.resolution, 1);
  const TextBatch texts = RandomTexts({9, 8, 12, 3, 10, 7, 11, 9}, 49408, 2);
  at::Tensor features = at::empty({8, spec.embed_dim});
  const at::Tensor d = RandomTensor({8, spec.embed_dim}, 3).to(at::kFloat);
  const GroupDone done = [](int) {};
  for (const bool recompute : {false, true}) {
    m.model->Plan(8, 80, {true, {recompute, recompute, recompute}});
    for (const int threads : {1, 2}) {
      at::set_num_threads(threads);
      CountingAllocator counting;
      for (const Keep keep : {Keep::kNo, Keep::kYes}) {
        m.model->ForwardImages(images, features, keep);
        m.model->ForwardTexts(texts, features, keep);
      }
      m.model->BackwardImages(d, done);
      m.model->BackwardTexts(d, done);
      EXPECT_EQ(counting.count(), 0);
      const at::Tensor one = at::empty({1});  // the counter does count
      EXPECT_EQ(counting.count(), 1);
    }
  }
  at::set_num_threads(1);
}

INSTANTIATE_TEST_SUITE_P(Models, Allocation,
                         testing::Values(Case{"tiny-vit", at::kFloat},
                                         Case{"tiny-vit", at::kBFloat16},
                                         Case{"tiny-vit", at::kHalf}, Case{"tiny-rn", at::kFloat},
                                         Case{"tiny-rn", at::kBFloat16}),
                         [](const auto& tested) {
                           std::string name = tested.param.model;
                           return name.replace(name.find('-'), 1, "_") + "_" +
                                  c10::toString(tested.param.type);
                         });

}  // namespace
}  // namespace contrail::model
