#include "model/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "model/clip.h"

namespace contrail::model {
namespace {

int64_t Count(const std::vector<ParamSpec>& params, const std::string& prefix) {
  int64_t n = 0;
  for (const ParamSpec& spec : params) {
    if (spec.name.rfind(prefix, 0) == 0) n += NumElements(spec);
  }
  return n;
}

const ParamSpec& Find(const std::vector<ParamSpec>& params, const std::string& name) {
  for (const ParamSpec& spec : params) {
    if (spec.name == name) return spec;
  }
  throw std::runtime_error("no parameter " + name);
}

TEST(Registry, ParameterCountsAreOpenAIs) {
  struct Row {
    const char* name;
    int64_t total, visual;
  };
  for (const Row& row :
       {Row{"RN50", 102007137, 38316896}, Row{"RN101", 119688033, 56259936},
        Row{"RN50x4", 178300601, 87137080}, Row{"RN50x16", 290979217, 167328912},
        Row{"RN50x64", 623258305, 420380352}, Row{"ViT-B/32", 151277313, 87849216},
        Row{"ViT-B/16", 149620737, 86192640}, Row{"ViT-L/14", 427616513, 303966208},
        Row{"ViT-L/14@336", 427944193, 304293888}}) {
    const auto model = ClipModel::Create(FindModel(row.name));
    EXPECT_EQ(Count(model->params(), ""), row.total) << row.name;
    EXPECT_EQ(Count(model->params(), "visual."), row.visual) << row.name;
  }
}

TEST(Registry, AnUnknownNameIsTheUsersMistakeWithTheNearest) {
  try {
    FindModel("ViT-B/23");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-MODEL-NAME");
    EXPECT_EQ(error.kind(), ErrorKind::kUser);
    EXPECT_THAT(error.what(), testing::HasSubstr("did you mean 'ViT-B/32'?"));
    EXPECT_THAT(error.what(), testing::HasSubstr("tiny-vit, ViT-B/32, ViT-B/16"));
  }
}

TEST(Registry, DecayFollowsTheRuleOfOpenClipsPublishedModels) {
  const auto model = ClipModel::Create(FindModel("tiny-vit"));
  const std::vector<ParamSpec>& params = model->params();
  for (const char* name :
       {"visual.conv1.weight", "visual.proj", "text_projection", "token_embedding.weight",
        "positional_embedding", "visual.positional_embedding",
        "visual.transformer.resblocks.3.attn.in_proj_weight",
        "transformer.resblocks.1.mlp.c_proj.weight"}) {
    EXPECT_TRUE(Find(params, name).decay) << name;
  }
  for (const char* name :
       {"visual.class_embedding", "visual.ln_pre.weight", "ln_final.bias", "logit_scale",
        "visual.transformer.resblocks.0.ln_1.weight", "transformer.resblocks.0.attn.in_proj_bias",
        "transformer.resblocks.0.mlp.c_fc.bias"}) {
    EXPECT_FALSE(Find(params, name).decay) << name;
  }
}

TEST(Registry, GroupsRiseInOrderOfUse) {
  for (const char* name : {"tiny-vit", "ViT-B/16"}) {
    const auto model = ClipModel::Create(FindModel(name));
    const std::vector<ParamSpec>& params = model->params();
    for (size_t i = 1; i < params.size(); ++i) {
      const int step = params[i].group - params[i - 1].group;
      EXPECT_TRUE(step == 0 || step == 1) << params[i].name;
    }
    const ModelSpec& spec = model->spec();
    EXPECT_EQ(params.front().group, 0);
    EXPECT_EQ(params.back().name, "logit_scale");
    EXPECT_EQ(params.back().group, spec.vit.layers + 2 + spec.text.layers + 2);
  }
}

TEST(Registry, ResnetsHaveOneGroupABottleneckAndRunningStatistics) {
  const auto model = ClipModel::Create(FindModel("RN50"));
  const std::vector<ParamSpec>& params = model->params();
  EXPECT_EQ(Find(params, "visual.bn3.bias").group, 0);
  EXPECT_EQ(Find(params, "visual.layer1.0.conv1.weight").group, 1);
  EXPECT_EQ(Find(params, "visual.layer4.2.conv3.weight").group, 16);
  EXPECT_EQ(Find(params, "visual.attnpool.c_proj.bias").group, 17);
  EXPECT_TRUE(Find(params, "visual.layer1.0.downsample.0.weight").decay);
  EXPECT_TRUE(Find(params, "visual.attnpool.positional_embedding").decay);
  EXPECT_FALSE(Find(params, "visual.layer1.0.downsample.1.weight").decay);
  EXPECT_EQ(Find(params, "visual.layer1.0.bn3.weight").init.kind, Init::Kind::kZeros);
  EXPECT_EQ(Find(params, "visual.bn3.weight").init.kind, Init::Kind::kOnes);
  ASSERT_EQ(model->buffers().size(), 2U * (3 + 16 * 3 + 4));
  EXPECT_EQ(model->buffers()[0].name, "visual.bn1.running_mean");
  EXPECT_EQ(model->buffers()[1].name, "visual.bn1.running_var");
  EXPECT_EQ(model->buffers()[1].initial, 1);
  EXPECT_TRUE(ClipModel::Create(FindModel("tiny-vit"))->buffers().empty());
}

TEST(Registry, ImpossibleModelsAreTheUsersMistake) {
  ModelSpec spec = FindModel("tiny-vit");
  spec.activation = "swish";
  EXPECT_THROW(ClipModel::Create(spec), Error);
  spec = FindModel("tiny-vit");
  spec.resolution = 30;
  EXPECT_THROW(ClipModel::Create(spec), Error);
}

}  // namespace
}  // namespace contrail::model
