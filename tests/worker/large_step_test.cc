// RN50x64 at 448 pixels, whole, in the memory of one GPU of 24 GiB: run by `make test-long`.
#include <gtest/gtest.h>

#include <fstream>

#include "data/batch.h"
#include "model/param.h"
#include "worker/comm/comm.h"
#include "worker/flat.h"
#include "worker/step.h"

namespace contrail::worker {
namespace {

constexpr int64_t kSamples = 4;

double PeakGib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / (1 << 20);
  }
  return 0;
}

data::Batch Noise(int64_t resolution) {
  data::Batch batch;
  batch.num_samples = kSamples;
  batch.resolution = resolution;
  uint32_t state = 1;
  for (int64_t i = 0; i < kSamples * 3 * resolution * resolution; ++i) {
    batch.images.push_back(static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24));
  }
  batch.text_offsets.push_back(0);
  for (int64_t i = 0; i < kSamples; ++i) {
    for (const int32_t id : {49406, 320 + static_cast<int32_t>(i), 1125, 539, 49407}) {
      batch.token_ids.push_back(id);
    }
    batch.text_offsets.push_back(static_cast<int32_t>(batch.token_ids.size()));
  }
  return batch;
}

TEST(LargeStep, DISABLED_RN50x64TrainsIn24GiB) {
  const auto comm = MakeSingleComm();
  const auto model = model::ClipModel::Create(model::FindModel("RN50x64"));
  FlatParams flat(model->params(), 0, 1);
  for (size_t i = 0; i < model->params().size(); ++i) {
    model::InitParam(model->params()[i], /*seed=*/1, flat.views().weights[i]);
  }
  model::BoundParams bound = flat.views();
  for (const model::BufferSpec& spec : model->buffers()) {
    bound.buffers.push_back(at::full(spec.shape, spec.initial));
  }
  const at::Tensor mean = bound.buffers[0];
  model->Bind(std::move(bound));
  TrainStep step(*comm, *model, flat,
                 {.global_batch_size = kSamples, .recompute = {.text = true, .resnet = true}});
  const data::Batch batch = Noise(model->spec().resolution);
  std::vector<double> losses;
  for (uint64_t update = 1; update <= 3; ++update) {
    monitor::StepTimes times;
    step.Encode(batch, times);
    step.Gather(times);
    losses.push_back(step.Loss(times).loss);
    step.Backward(times);
    step.Update(update, /*lr=*/1e-4, std::sqrt(step.OwnGradSquares()), times);
  }
  EXPECT_NEAR(losses[0], std::log(kSamples), 1.0);
  EXPECT_LT(losses[2], losses[0]);                  // it learns four pairs
  EXPECT_GT(mean.abs().max().item<float>(), 0.0f);  // and its statistics moved
  EXPECT_LT(PeakGib(), 24.0);
  std::printf("losses %.4f %.4f %.4f, peak %.2f GiB, arena %.2f GiB\n", losses[0], losses[1],
              losses[2], PeakGib(), static_cast<double>(model->arena_bytes()) / (1 << 30));
}

}  // namespace
}  // namespace contrail::worker
