// Batches: what is in them, in which order, on how many ranks and threads.

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "data/dataset.h"
#include "data/resize.h"
#include "data/synthetic.h"
#include "data/tokenizer.h"
#include "data/transform.h"
#include "tests/data/helpers.h"

namespace contrail::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class LoaderTest : public ScratchTest {
 protected:
  static std::shared_ptr<const Tokenizer> Clip() {
    static const auto tokenizer =
        Tokenizer::Load(CONTRAIL_BINARY_DIR "/share/contrail/bpe_simple_vocab_16e6.txt.gz");
    return tokenizer;
  }

  void SetUp() override {
    ScratchTest::SetUp();
    Write("p-0.tar", ShardOf(23));
    Write("p-1.tar", ShardOf(40, 23));
    Write("p-2.tar", ShardOf(8, 63));
    dataset_ = Dataset::Open({Path("p-{0..2}.tar")});
    options_.seed = 5;
    options_.shuffle_window = 16;
    options_.global_batch_size = 16;
    options_.slice_end = 16;
    options_.load.resolution = 4;
    options_.load.crop = "random-resized";
    options_.load.crop_scale_min = 0.5;
    options_.load.seed = 5;
  }

  struct Row {
    std::string key;
    std::vector<uint8_t> image;
    std::vector<int32_t> tokens;
    int64_t label;
    bool operator==(const Row&) const = default;
  };

  static void AppendRows(const Batch& batch, std::vector<Row>& rows) {
    ASSERT_EQ(batch.text_offsets.size(), static_cast<size_t>(batch.num_samples) + 1);
    const size_t bytes = static_cast<size_t>(3 * batch.resolution * batch.resolution);
    for (size_t i = 0; i < static_cast<size_t>(batch.num_samples); ++i) {
      const auto image = batch.images.begin() + static_cast<std::ptrdiff_t>(i * bytes);
      rows.push_back({batch.keys[i],
                      {image, image + static_cast<std::ptrdiff_t>(bytes)},
                      {batch.token_ids.begin() + batch.text_offsets[i],
                       batch.token_ids.begin() + batch.text_offsets[i + 1]},
                      batch.labels[i]});
    }
  }

  // All rows of `steps` global batches as `ranks` ranks load them, in global order.
  std::vector<Row> Load(uint64_t ranks, uint64_t first, uint64_t steps, int workers, int prefetch) {
    std::vector<std::unique_ptr<BatchLoader>> loaders;
    for (uint64_t rank = 0; rank < ranks; ++rank) {
      BatchLoader::Options options = options_;
      options.slice_begin = 16 / ranks * rank;
      options.slice_end = 16 / ranks * (rank + 1);
      options.first_step = first;
      options.workers = workers;
      options.prefetch = prefetch;
      loaders.push_back(BatchLoader::Start(dataset_, Clip(), options));
    }
    std::vector<Row> rows;
    for (uint64_t step = 0; step < steps; ++step) {
      for (auto& loader : loaders) AppendRows(loader->Next(), rows);
    }
    return rows;
  }

  std::shared_ptr<const Dataset> dataset_;
  BatchLoader::Options options_;
};

// Made-up pairs: of (seed, sample) alone, with the lengths asked for.
TEST_F(LoaderTest, SyntheticPairsAreAFunctionOfSeedAndSample) {
  Config config;
  config.run.seed = 5;
  config.data.synthetic_samples = 100;
  config.data.synthetic_caption_tokens = {"7", "20-22"};
  options_.load.resolution = 5;  // 75 bytes a plane triple: no multiple of 8
  const auto rows_of = [&](const Config& of, int threads) {
    std::vector<Row> rows;
    options_.workers = threads;
    const auto loader = BatchLoader::Start(MakeSynthetic(of), Clip(), options_);
    for (int step = 0; step < 6; ++step) AppendRows(loader->Next(), rows);
    return rows;
  };
  const std::vector<Row> rows = rows_of(config, 1);
  EXPECT_EQ(rows_of(config, 3), rows);
  std::map<size_t, int> lengths;
  std::set<std::string> keys;
  std::set<std::vector<uint8_t>> images;
  double sum = 0;
  for (const Row& row : rows) {
    ++lengths[row.tokens.size()];
    EXPECT_EQ(row.tokens.front(), kStartOfText);
    EXPECT_EQ(row.tokens.back(), kEndOfText);
    EXPECT_EQ(row.label, -1);
    keys.insert(row.key);
    images.insert(row.image);
    for (const uint8_t pixel : row.image) sum += pixel;
  }
  EXPECT_EQ(keys.size(), rows.size());
  EXPECT_EQ(images.size(), rows.size());
  EXPECT_NEAR(sum / static_cast<double>(75 * rows.size()), 127.5, 4);
  EXPECT_EQ(lengths.size(), 4u);
  EXPECT_NEAR(lengths[7], 48, 20);
  config.run.seed = 6;
  EXPECT_NE(rows_of(config, 1)[0].image, rows[0].image);

  const std::string one = MakeSynthetic(config)->Fingerprint();
  config.data.synthetic_samples = 101;
  EXPECT_NE(MakeSynthetic(config)->Fingerprint(), one);
  for (const char* bad : {"", "1", "78", "5-", "9-4", "x", "5-35-40", "-5"}) {
    config.data.synthetic_caption_tokens = {"20", bad};
    EXPECT_THAT(MessageOf([&] { MakeSynthetic(config); }),
                HasSubstr("E-DATA-SYNTHETIC: data.synthetic_caption_tokens"));
  }
}

TEST_F(LoaderTest, AnyNumberOfRanksAndThreadsLoadsTheSameRows) {
  constexpr uint64_t kSteps = 10;  // 4 batches an epoch
  const std::vector<Row> reference = Load(1, 0, kSteps, 1, 1);
  ASSERT_EQ(reference.size(), kSteps * 16);
  const SampleOrder order(5, dataset_->shard_sizes(), 16);
  for (size_t i = 0; i < reference.size(); ++i) {
    const uint64_t epoch = i / 64;
    EXPECT_EQ(reference[i].key, dataset_->Key(order.At(epoch, i % 64)));
  }
  for (const uint64_t ranks : {1, 2, 4, 16}) {
    for (const int workers : {1, 3}) {
      EXPECT_EQ(Load(ranks, 0, kSteps, workers, 4), reference) << ranks << " ranks, " << workers;
    }
  }
  // Started in the middle, as after a restart.
  const std::vector<Row> tail(reference.begin() + 7 * 16, reference.end());
  EXPECT_EQ(Load(2, 7, 3, 2, 2), tail);
}

TEST_F(LoaderTest, ABatchHoldsWhatItsSamplesHold) {
  LoadOptions load = options_.load;
  load.crop = "center";
  const Batch batch = LoadBatch(*dataset_, *Clip(), load, 0, {70, 3});
  std::vector<Row> rows;
  AppendRows(batch, rows);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].key, "p-2.tar/000070");
  EXPECT_EQ(rows[0].label, 0);
  EXPECT_EQ(rows[0].tokens, Clip()->Encode("sample number 70"));
  EXPECT_EQ(rows[1].tokens, Clip()->Encode("sample number 3"));
  RandomStream draws(0, 0, 0);
  const Image square = Transform(NoisePicture(6, 5, 70), CropKind::kCenter, 4, 1, draws);
  std::vector<uint8_t> planar(48);
  ToPlanar(square, planar.data());
  EXPECT_EQ(rows[0].image, planar);
  EXPECT_GT(batch.load_seconds, 0);

  load.captions = false;
  const Batch silent = LoadBatch(*dataset_, *Clip(), load, 0, {70, 3});
  EXPECT_TRUE(silent.token_ids.empty());
  EXPECT_EQ(silent.text_offsets, (std::vector<int32_t>{0, 0, 0}));
}

TEST_F(LoaderTest, AugmentationChangesWithTheEpochOnly) {
  const Batch a = LoadBatch(*dataset_, *Clip(), options_.load, 3, {1, 2});
  EXPECT_EQ(LoadBatch(*dataset_, *Clip(), options_.load, 3, {1, 2}).images, a.images);
  EXPECT_NE(LoadBatch(*dataset_, *Clip(), options_.load, 4, {1, 2}).images, a.images);
}

TEST_F(LoaderTest, AnUndecodableImageIsReportedByNextForGood) {
  std::vector<std::pair<std::string, std::string>> members;
  for (int i = 0; i < 16; ++i) {
    const std::string key = "k" + std::to_string(i);
    members.emplace_back(key + ".png", i == 5 || i == 11 ? "broken" : NoisePng(6, 5, 1));
  }
  Write("bad.tar", MakeTar(members));
  const auto dataset = Dataset::Open({Path("bad.tar")});
  std::string message;
  for (const int workers : {1, 4}) {
    BatchLoader::Options options = options_;
    options.workers = workers;
    const auto loader = BatchLoader::Start(dataset, Clip(), options);
    const std::string first = MessageOf([&] { loader->Next(); });
    EXPECT_THAT(first,
                AllOf(HasSubstr("E-DATA-IMAGE: bad.tar/k"), HasSubstr("neither a JPEG nor a PNG")));
    EXPECT_EQ(MessageOf([&] { loader->Next(); }), first);
    if (message.empty()) message = first;
    EXPECT_EQ(first, message) << "the sample named must not depend on threads";
  }
}

TEST_F(LoaderTest, StartReportsWhatCannotWork) {
  BatchLoader::Options options = options_;
  options.global_batch_size = options.slice_end = 72;
  EXPECT_THAT(MessageOf([&] { BatchLoader::Start(dataset_, Clip(), options); }),
              AllOf(HasSubstr("E-DATA-SMALL"), HasSubstr("72"), HasSubstr("71 samples")));
  options = options_;
  options.load.crop = "centre";
  EXPECT_THAT(MessageOf([&] { BatchLoader::Start(dataset_, Clip(), options); }),
              AllOf(HasSubstr("E-DATA-CROP"), HasSubstr("did you mean 'center'?")));
}

TEST_F(LoaderTest, StopsWhileBatchesAreInTheMaking) {
  for (int i = 0; i < 20; ++i) {
    options_.workers = 4;
    options_.prefetch = 3;
    const auto loader = BatchLoader::Start(dataset_, Clip(), options_);
    if (i % 2 == 0) loader->Next();
  }
}

}  // namespace
}  // namespace contrail::data
