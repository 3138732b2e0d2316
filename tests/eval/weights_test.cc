// Weights read at another resolution than they were saved at.
#include "eval/weights.h"

#include <gmock/gmock.h>

#include "checkpoint/save.h"
#include "common/error.h"
#include "common/recording_file_system.h"
#include "model/positions.h"
#include "model/registry.h"

namespace contrail::eval {
namespace {

using testing::HasSubstr;

model::ModelSpec SpecAt(const std::string& name, int64_t resolution) {
  model::ModelSpec spec = model::FindModel(name);
  spec.resolution = resolution;
  return spec;
}

ckpt::Layout LayoutAt(const model::ModelSpec& spec) {
  return LayoutOf(model::ClipModel::Create(spec)->params());
}

// A committed step with weights drawn from a seed, in memory.
class Saved {
 public:
  explicit Saved(const model::ModelSpec& spec, const std::string& name = "") {
    const auto model = model::ClipModel::Create(spec);
    const ckpt::Layout layout = LayoutAt(spec);
    weights = at::empty({static_cast<int64_t>(layout.num_elements)}, at::kFloat);
    const std::vector<at::Tensor> views = ViewsOf(weights, layout);
    for (size_t i = 0; i < views.size(); ++i) model::InitParam(model->params()[i], 4, views[i]);
    ckpt::SavePlan plan;
    plan.checkpoints_dir = "/checkpoints";
    plan.state.model = name.empty() ? spec.name : name;
    plan.state.activation = spec.activation;
    plan.state.resolution = spec.resolution;
    plan.state.mean_std = spec.mean_std;
    plan.layout = layout;
    plan.topology = {0, 1, {0}};
    plan.ranges_of_rank = {{{0, layout.num_elements}}};
    plan.weights_only = true;
    ckpt::Snapshot snapshot;
    snapshot.ranges = plan.ranges_of_rank[0];
    const float* data = weights.const_data_ptr<float>();
    snapshot.data[0].assign(data, data + weights.numel());
    ckpt::SaveJob job(disk, plan, snapshot);
    ckpt::CommitStep(disk, plan, {job.Report()});
    step = ckpt::StepReader::Open(disk, "/checkpoints");
  }
  RecordingFileSystem disk;
  at::Tensor weights;
  std::unique_ptr<ckpt::StepReader> step;
};

void ExpectCarriedOver(const std::string& name, int64_t before, int64_t after) {
  const Saved saved(SpecAt(name, before));
  const model::ModelSpec spec = SpecAt(name, after);
  const ckpt::Layout layout = LayoutAt(spec);
  EXPECT_NO_THROW(CheckModelUpToResolution(*saved.step, spec, layout));
  EXPECT_THROW(CheckModel(*saved.step, spec, layout), Error);
  // In pieces that begin and end anywhere, as ranks of a job own them.
  at::Tensor read = at::full({static_cast<int64_t>(layout.num_elements)}, -1, at::kFloat);
  const uint64_t pieces = 7;
  for (uint64_t i = 0; i < pieces; ++i) {
    const ckpt::Range range = {layout.num_elements * i / pieces,
                               layout.num_elements * (i + 1) / pieces};
    ReadResampled(*saved.step, layout, range, read.mutable_data_ptr<float>() + range.begin);
  }
  const std::vector<at::Tensor> old = ViewsOf(saved.weights, saved.step->layout());
  const std::vector<at::Tensor> now = ViewsOf(read, layout);
  int resampled = 0;
  for (size_t i = 0; i < now.size(); ++i) {
    const std::string& tensor = layout.tensors[i].name;
    if (model::IsImagePositions(tensor)) {
      ++resampled;
      EXPECT_TRUE(at::equal(now[i], model::ResamplePositions(old[i], now[i].size(0)))) << tensor;
      EXPECT_TRUE(at::equal(now[i][0], old[i][0])) << tensor;
    } else {
      EXPECT_TRUE(at::equal(now[i], old[i])) << tensor;
    }
  }
  EXPECT_EQ(resampled, 1);
}

TEST(WeightsTest, AnotherResolutionResamplesPositionsAndNothingElse) {
  ExpectCarriedOver("tiny-vit", 28, 42);
  ExpectCarriedOver("tiny-vit", 28, 14);
  ExpectCarriedOver("tiny-rn", 32, 96);
}

TEST(WeightsTest, ModelsThatDifferInResolutionAloneAreOne) {
  const model::ModelSpec small = SpecAt("ViT-L/14", 224);
  const model::ModelSpec large = SpecAt("ViT-L/14@336", 336);
  EXPECT_TRUE(model::SameUpToResolution(small, large));
  EXPECT_FALSE(model::SameUpToResolution(SpecAt("ViT-B/32", 224), SpecAt("ViT-B/16", 224)));
  EXPECT_FALSE(model::SameUpToResolution(SpecAt("RN50", 224), SpecAt("RN101", 224)));
}

TEST(WeightsTest, AnotherNormalisationOfImagesIsRefused) {
  model::ModelSpec spec = SpecAt("nano-vit", 28);
  spec.mean_std = "half";
  const Saved saved(spec);
  EXPECT_NO_THROW(CheckModelUpToResolution(*saved.step, spec, LayoutAt(spec)));
  spec.mean_std = "clip";
  try {
    CheckModelUpToResolution(*saved.step, spec, LayoutAt(spec));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-MEAN-STD");
    EXPECT_THAT(error.what(), HasSubstr("set data.mean_std = \"half\""));
  }
}

TEST(WeightsTest, AnotherModelIsRefusedAtAnyResolution) {
  const Saved saved(SpecAt("tiny-vit", 28));
  model::ModelSpec gelu = SpecAt("tiny-vit", 42);
  gelu.activation = "gelu";
  const auto refused = [&](const model::ModelSpec& spec, const std::string& text) {
    try {
      CheckModelUpToResolution(*saved.step, spec, LayoutAt(spec));
      ADD_FAILURE() << "no error: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-CKPT-MODEL");
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  };
  refused(gelu, "it was trained with quick_gelu, asked for gelu");
  refused(SpecAt("tiny-rn", 32), "it holds tiny-vit, asked for tiny-rn");
}

}  // namespace
}  // namespace contrail::eval
