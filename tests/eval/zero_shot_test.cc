#include "eval/zero_shot.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "common/error.h"
#include "data/dataset.h"
#include "eval/prompts.h"
#include "tests/eval/fixture.h"

namespace contrail::eval {
namespace {

using testing::HasSubstr;

at::Tensor Rows(const std::vector<std::vector<float>>& rows) {
  at::Tensor out = at::empty(
      {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())}, at::kFloat);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < rows[i].size(); ++j) out[i][j] = rows[i][j];
  }
  return out;
}

std::string IdOf(const std::function<void()>& work, std::string* line = nullptr) {
  try {
    work();
  } catch (const Error& error) {
    if (line) *line = error.what();
    return error.id();
  }
  return "";
}

TEST(ClassWeightsTest, AreTheNormalisedMeanOfUnitFeatures) {
  // Class 0: (1, 0) and (0.6, 0.8) -> mean (0.8, 0.4) -> norm sqrt(0.8).
  // Class 1: (0, 1) and (0, -0.5... ) would not be unit; two equal rows stay as they are.
  const at::Tensor weights = ClassWeights(Rows({{1, 0}, {0.6f, 0.8f}, {0, 1}, {0, 1}}), 2);
  const float norm = std::sqrt(0.8f * 0.8f + 0.4f * 0.4f);
  EXPECT_NEAR(weights[0][0].item<float>(), 0.8f / norm, 1e-6);
  EXPECT_NEAR(weights[0][1].item<float>(), 0.4f / norm, 1e-6);
  EXPECT_NEAR(weights[1][0].item<float>(), 0, 1e-6);
  EXPECT_NEAR(weights[1][1].item<float>(), 1, 1e-6);
}

TEST(TallyTest, CountsByHand) {
  // Seven classes on a line of directions: logits of an image are its own coordinates.
  at::Tensor weights = at::eye(7, at::kFloat);
  Tally tally(weights);
  tally.Add(Rows({{0.9f, 0.1f, 0, 0, 0, 0, 0},          // label 0: right
                  {0.9f, 0.1f, 0, 0, 0, 0, 0},          // label 1: second
                  {.6f, .5f, .4f, .3f, .2f, .1f, 0}}),  // label 5: sixth
            {0, 1, 5});
  // A tie goes to the lower index: right for 2, wrong for 3.
  tally.Add(Rows({{0, 0, .5f, .5f, 0, 0, 0}, {0, 0, .5f, .5f, 0, 0, 0}}), {2, 3});
  const Score score = tally.Result();
  EXPECT_DOUBLE_EQ(score.top1, 2.0 / 5);
  EXPECT_DOUBLE_EQ(score.top5, 4.0 / 5);
  EXPECT_DOUBLE_EQ(score.per_class[0], 1);
  EXPECT_DOUBLE_EQ(score.per_class[1], 0);
  EXPECT_DOUBLE_EQ(score.per_class[2], 1);
  EXPECT_DOUBLE_EQ(score.per_class[3], 0);
  EXPECT_TRUE(std::isnan(score.per_class[4]));
}

TEST(TallyTest, NanIsNeverARightAnswer) {
  Tally tally(at::eye(2, at::kFloat));
  EXPECT_EQ(IdOf([&] { tally.Add(Rows({{NAN, 0}}), {0}); }), "E-EVAL-NONFINITE");
}

TEST(ZeroShotTest, AgreesWithTheDefinitionOnRealPhotos) {
  const c10::InferenceMode guard;
  const PackedPhotos photos(300);
  const auto encoder = FreshEncoder(3, /*batch_size=*/64);
  const ZeroShotResult result = EvaluateZeroShot(*encoder, photos.dir());

  // The definition, in the plainest words: one prompt at a time, one image at a time.
  const PromptSet prompts = ReadPrompts(photos.dir());
  ASSERT_EQ(prompts.class_names.size(), 10u);
  ASSERT_GE(prompts.templates.size(), 5u);
  const auto unit = [](const at::Tensor& v) { return v / v.norm(); };
  const auto class_vector = [&](const std::string& name,
                                const std::vector<std::string>& templates) {
    at::Tensor sum = at::zeros({encoder->spec().embed_dim}, at::kFloat);
    for (const std::string& text : templates) {
      sum = sum + unit(encoder->EncodeTexts({FillTemplate(text, name)})[0]);
    }
    return unit(sum / static_cast<double>(templates.size()));
  };
  const auto dataset = data::Dataset::Open(FindShards(photos.dir()));
  std::vector<uint64_t> all(dataset->size());
  std::iota(all.begin(), all.end(), 0);
  const data::Batch batch =
      data::LoadBatch(*dataset, encoder->tokenizer(),
                      {.resolution = 28, .crop = "center", .captions = false}, 0, all);
  std::vector<at::Tensor> images;
  for (int64_t i = 0; i < batch.num_samples; ++i) {
    data::Batch one = batch;
    one.num_samples = 1;
    one.images.assign(batch.images.begin() + i * 3 * 28 * 28,
                      batch.images.begin() + (i + 1) * 3 * 28 * 28);
    images.push_back(unit(encoder->EncodeImages(one)[0]));
  }
  for (const bool ensemble : {false, true}) {
    std::vector<at::Tensor> classes;
    for (const std::string& name : prompts.class_names) {
      classes.push_back(
          class_vector(name, ensemble ? prompts.templates : std::vector<std::string>{kOnePrompt}));
    }
    int64_t right = 0;
    for (int64_t i = 0; i < batch.num_samples; ++i) {
      int64_t best = 0;
      double best_logit = -1e30;
      for (size_t c = 0; c < classes.size(); ++c) {
        const double logit = 100 * at::dot(images[i], classes[c]).item<double>();
        if (logit > best_logit) {
          best_logit = logit;
          best = static_cast<int64_t>(c);
        }
      }
      right += best == batch.labels[i];
    }
    const Score& score = ensemble ? result.ensemble : result.one_prompt;
    // Rounding may tip an image that lies on the border.
    EXPECT_NEAR(score.top1 * 300, static_cast<double>(right), 1) << "ensemble " << ensemble;
  }
  EXPECT_EQ(result.samples, 300u);
  const auto json = nlohmann::json::parse(ToJson(result));
  EXPECT_DOUBLE_EQ(json["ensemble"]["top1"].get<double>(), result.ensemble.top1);
  EXPECT_EQ(json["class_names"].size(), 10u);
  EXPECT_THAT(ToText(result), HasSubstr("ankle boot"));
}

TEST(ZeroShotTest, NamesThatAreNoTextAreRefusedBeforeAnythingIsEncoded) {
  const PackedPhotos photos(3);
  std::ofstream(photos / "classnames.txt") << "t-shirt\ncaf\xe9\n";
  std::string line;
  EXPECT_EQ(IdOf([&] { ReadPrompts(photos.dir()); }, &line), "E-EVAL-DATASET");
  EXPECT_THAT(line, HasSubstr("classnames.txt:2: 'caf\\xe9' is no UTF-8 text"));
  ZeroShotResult result;
  result.class_names = {"caf\xe9"};
  result.one_prompt.per_class = result.ensemble.per_class = {0.5};
  EXPECT_TRUE(nlohmann::json::accept(ToJson(result)));
}

TEST(ZeroShotTest, NamesWhatIsWrongWithADataSet) {
  const c10::InferenceMode guard;
  const PackedPhotos photos(20);
  const auto encoder = FreshEncoder(3, 16);
  std::string line;
  EXPECT_EQ(IdOf([&] { EvaluateZeroShot(*encoder, photos / "nowhere"); }, &line), "E-EVAL-DATASET");
  std::ofstream(photos / "zeroshot_classification_templates.txt") << "a photo of a {}.\na photo.\n";
  EXPECT_EQ(IdOf([&] { EvaluateZeroShot(*encoder, photos.dir()); }, &line), "E-EVAL-DATASET");
  EXPECT_THAT(line, HasSubstr("templates.txt:2"));
  std::ofstream(photos / "zeroshot_classification_templates.txt") << "a photo of a {c}.\n";
  std::ofstream(photos / "classnames.txt") << "shirt\nbag\n";
  EXPECT_EQ(IdOf([&] { EvaluateZeroShot(*encoder, photos.dir()); }, &line), "E-EVAL-LABEL");
  EXPECT_THAT(line, HasSubstr("pairs-000000.tar/"));
}

}  // namespace
}  // namespace contrail::eval
