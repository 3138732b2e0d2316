// Samples that cannot be used, and what takes their places.

#include "data/replace.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "data/dataset.h"
#include "data/disk_patience.h"
#include "data/shard_index.h"
#include "data/tokenizer.h"
#include "tests/data/helpers.h"

namespace contrail::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kBatch = 16;

// A data set whose disk does not give some samples up.
class IllDisk : public Dataset {
 public:
  IllDisk(std::shared_ptr<const Dataset> whole, std::set<uint64_t> lost)
      : whole_(std::move(whole)), lost_(std::move(lost)) {}
  uint64_t size() const override { return whole_->size(); }
  std::vector<uint64_t> shard_sizes() const override { return whole_->shard_sizes(); }
  std::string Key(uint64_t sample) const override { return whole_->Key(sample); }
  std::string Fingerprint() const override { return whole_->Fingerprint(); }
  Sample Read(uint64_t sample) const override {
    if (lost_.contains(sample)) {
      throw SampleError(IoError(EIO, "/data/a.tar", "could not read"), /*unreadable=*/true);
    }
    return whole_->Read(sample);
  }

 private:
  const std::shared_ptr<const Dataset> whole_;
  const std::set<uint64_t> lost_;
};

class ReplaceTest : public ScratchTest {
 protected:
  static std::shared_ptr<const Tokenizer> Clip() {
    static const auto tokenizer =
        Tokenizer::Load(CONTRAIL_BINARY_DIR "/share/contrail/bpe_simple_vocab_16e6.txt.gz");
    return tokenizer;
  }

  struct Member {
    std::string image;
    std::string label = "1";
  };
  static std::string Shard(const std::vector<Member>& samples, size_t first) {
    std::vector<std::pair<std::string, std::string>> members;
    for (size_t i = 0; i < samples.size(); ++i) {
      const std::string key = "k" + std::to_string(first + i);
      members.emplace_back(key + ".png", samples[i].image);
      members.emplace_back(key + ".txt", "sample number " + std::to_string(first + i));
      members.emplace_back(key + ".cls", samples[i].label);
    }
    return MakeTar(members);
  }
  static std::vector<Member> Good(size_t count, size_t first) {
    std::vector<Member> samples;
    for (size_t i = 0; i < count; ++i) samples.push_back({NoisePng(6, 5, first + i)});
    return samples;
  }

  // 64 samples in two shards: 5 and 41 are no pictures, 20 has no class number.
  void SetUp() override {
    ScratchTest::SetUp();
    std::vector<Member> a = Good(24, 0);
    a[5].image = "broken";
    a[20].label = "a cat";
    std::vector<Member> b = Good(40, 24);
    b[17].image.resize(b[17].image.size() / 2);
    Write("p-0.tar", Shard(a, 0));
    Write("p-1.tar", Shard(b, 24));
    dataset_ = Dataset::Open({Path("p-{0..1}.tar")});
    options_.seed = options_.load.seed = 5;
    options_.shuffle_window = 16;
    options_.global_batch_size = kBatch;
    options_.load.resolution = 4;
    options_.load.crop = "random-resized";
    options_.load.crop_scale_min = 0.5;
    options_.known = std::make_shared<KnownReplacements>();
  }

  struct Loaded {
    std::vector<std::string> keys;
    std::vector<uint8_t> images;
    std::vector<int32_t> tokens;
    std::vector<Replaced> replaced;
    std::vector<uint64_t> consumed;  // by step
    bool operator==(const Loaded&) const = default;
  };

  Loaded Load(const std::shared_ptr<const Dataset>& dataset, uint64_t ranks, uint64_t first,
              uint64_t steps, int workers = 1) const {
    std::vector<std::unique_ptr<BatchLoader>> loaders;
    for (uint64_t rank = 0; rank < ranks; ++rank) {
      BatchLoader::Options options = options_;
      options.slice_begin = kBatch / ranks * rank;
      options.slice_end = kBatch / ranks * (rank + 1);
      options.first_step = first;
      options.workers = workers;
      loaders.push_back(BatchLoader::Start(dataset, Clip(), options));
    }
    Loaded all;
    for (uint64_t step = 0; step < steps; ++step) {
      all.consumed.push_back(0);
      for (auto& loader : loaders) {
        Batch batch = loader->Next();
        const auto append = [](auto& to, const auto& from) {
          to.insert(to.end(), from.begin(), from.end());
        };
        append(all.keys, batch.keys);
        append(all.images, batch.images);
        append(all.tokens, batch.token_ids);
        append(all.replaced, batch.replaced);
        all.consumed.back() += batch.consumed;
      }
    }
    return all;
  }

  SampleOrder Order() const { return SampleOrder(5, dataset_->shard_sizes(), 16); }

  std::shared_ptr<const Dataset> dataset_;
  BatchLoader::Options options_;
};

constexpr uint64_t kSteps = 12;  // three epochs

TEST_F(ReplaceTest, SubstitutesDependOnSeedAndPlaceAlone) {
  const auto first = [](uint64_t seed, Place place) {
    Substitutes draws(seed, place, 1'000'000);
    return std::vector<uint64_t>{draws.Next(), draws.Next(), draws.Next()};
  };
  EXPECT_EQ(first(1, {2, 3}), first(1, {2, 3}));
  std::set<std::vector<uint64_t>> all;
  for (uint64_t seed : {1, 2}) {
    for (uint64_t epoch : {0, 1}) {
      for (uint64_t position : {0, 1, 2}) all.insert(first(seed, {epoch, position}));
    }
  }
  EXPECT_EQ(all.size(), 12u);
  Substitutes one(1, {0, 0}, 1);
  EXPECT_EQ(one.Next(), 0u);
}

TEST_F(ReplaceTest, BrokenSamplesAreReplacedInEveryEpoch) {
  const Loaded loaded = Load(dataset_, 1, 0, kSteps);
  const SampleOrder order = Order();
  ASSERT_EQ(loaded.replaced.size(), 9u);  // three samples, three epochs
  std::map<uint64_t, std::set<uint64_t>> epochs_of;
  for (const Replaced& one : loaded.replaced) {
    EXPECT_EQ(order.At(one.place.epoch, one.place.position), one.sample);
    EXPECT_EQ(one.key, dataset_->Key(one.sample));
    EXPECT_FALSE(one.unreadable);
    epochs_of[one.sample].insert(one.place.epoch);
    EXPECT_THAT(one.why, HasSubstr(one.key));
    EXPECT_THAT(one.why, HasSubstr(one.sample == 20 ? "E-DATA-LABEL" : "E-DATA-IMAGE"));
    Substitutes draws(5, one.place, 64);
    uint64_t drawn = 0;
    for (int i = 0; i < one.tries; ++i) drawn = draws.Next();
    EXPECT_EQ(drawn, one.with);
    EXPECT_FALSE((std::set<uint64_t>{5, 20, 41}).contains(one.with));
    const uint64_t row = one.place.epoch * 64 + one.place.position;
    EXPECT_EQ(loaded.keys[row], one.with_key);
    EXPECT_EQ(one.with_key, dataset_->Key(one.with));
    // The substitute looks as it does in its own place of that epoch.
    const Batch own = LoadBatch(*dataset_, *Clip(), options_.load, one.place.epoch, {one.with});
    EXPECT_TRUE(std::equal(own.images.begin(), own.images.end(),
                           loaded.images.begin() + static_cast<std::ptrdiff_t>(row * 48)));
  }
  for (uint64_t sample : {5, 20, 41}) EXPECT_EQ(epochs_of[sample].size(), 3u);
  // All other places have their own.
  size_t own = 0;
  for (uint64_t i = 0; i < 3 * 64; ++i) {
    own += loaded.keys[i] == dataset_->Key(order.At(i / 64, i % 64)) ? 1 : 0;
  }
  EXPECT_EQ(own, 3 * 64 - 9u);
}

TEST_F(ReplaceTest, AnyNumberOfRanksThreadsAndStartsReplacesTheSame) {
  const Loaded reference = Load(dataset_, 1, 0, kSteps);
  for (const uint64_t ranks : {1, 2, 4, 16}) {
    for (const int workers : {1, 3}) {
      EXPECT_EQ(Load(dataset_, ranks, 0, kSteps, workers), reference) << ranks << " " << workers;
    }
  }
  const Loaded tail = Load(dataset_, 2, 7, kSteps - 7);
  EXPECT_TRUE(std::equal(tail.keys.begin(), tail.keys.end(), reference.keys.begin() + 7 * 16));
  EXPECT_TRUE(
      std::equal(tail.consumed.begin(), tail.consumed.end(), reference.consumed.begin() + 7));
}

TEST_F(ReplaceTest, TheSumTellsWhatWasTaken) {
  const Loaded loaded = Load(dataset_, 2, 0, kSteps);
  const SampleOrder order = Order();
  std::map<Place, uint64_t> with;
  for (const Replaced& one : loaded.replaced) with[one.place] = one.with;
  for (uint64_t step = 0; step < kSteps; ++step) {
    uint64_t sum = 0;
    for (uint64_t i = step * kBatch; i < (step + 1) * kBatch; ++i) {
      const Place place{i / 64, i % 64};
      const auto other = with.find(place);
      sum += ConsumedDigest(
          place, other == with.end() ? order.At(place.epoch, place.position) : other->second);
    }
    EXPECT_EQ(loaded.consumed[step], sum) << step;
  }
  EXPECT_NE(ConsumedDigest({0, 1}, 2) + ConsumedDigest({0, 2}, 1),
            ConsumedDigest({0, 1}, 1) + ConsumedDigest({0, 2}, 2));
}

TEST_F(ReplaceTest, ADiskThatComesBackDoesNotChangeTheRun) {
  const auto ill = std::make_shared<IllDisk>(dataset_, std::set<uint64_t>{9, 30});
  const Loaded first = Load(ill, 2, 0, kSteps);
  size_t unreadable = 0;
  auto known = std::make_shared<KnownReplacements>();
  for (const Replaced& one : first.replaced) {
    unreadable += one.unreadable ? 1 : 0;
    (*known)[one.place] = one;
  }
  EXPECT_EQ(unreadable, 6u);
  options_.known = known;
  EXPECT_EQ(Load(dataset_, 4, 0, kSteps), first);
  // Without the record it would.
  options_.known = std::make_shared<KnownReplacements>();
  EXPECT_EQ(Load(dataset_, 1, 0, kSteps).replaced.size(), 9u);
  // A record of another order says nothing about this one.
  for (auto& [place, one] : *known) one.sample = (one.sample + 1) % 64;
  options_.known = known;
  EXPECT_EQ(Load(dataset_, 1, 0, kSteps).replaced.size(), 9u);
}

TEST_F(ReplaceTest, ASubstituteThatFailsLaterIsReplacedByTheNext) {
  const Loaded first = Load(dataset_, 1, 0, 4);
  auto known = std::make_shared<KnownReplacements>();
  for (const Replaced& one : first.replaced) (*known)[one.place] = one;
  options_.known = known;
  const Replaced& lost = first.replaced[0];
  const Loaded second =
      Load(std::make_shared<IllDisk>(dataset_, std::set<uint64_t>{lost.with}), 1, 0, 4);
  bool found = false;
  for (const Replaced& one : second.replaced) {
    if (one.place != lost.place) continue;
    found = true;
    EXPECT_GT(one.tries, lost.tries);
    EXPECT_NE(one.with, lost.with);
  }
  EXPECT_TRUE(found);
}

TEST_F(ReplaceTest, WithoutLeaveToReplaceItIsAnError) {
  options_.known = nullptr;
  EXPECT_THAT(MessageOf([&] { Load(dataset_, 1, 0, 4); }), HasSubstr("E-DATA-"));
  EXPECT_THAT(MessageOf([&] { LoadBatch(*dataset_, *Clip(), options_.load, 0, {5}); }),
              HasSubstr("E-DATA-IMAGE: p-0.tar/k5"));
}

TEST_F(ReplaceTest, WhereNothingCanBeUsedItEnds) {
  std::vector<Member> all(64, {"broken"});
  Write("bad.tar", Shard(all, 0));
  EXPECT_THAT(MessageOf([&] { Load(Dataset::Open({Path("bad.tar")}), 1, 0, 1); }),
              AllOf(HasSubstr("E-DATA-IMAGE: bad.tar/k"), HasSubstr("none of them can be used")));
  // A disk that gives nothing up is the surroundings' fault, soon.
  std::set<uint64_t> lost;
  for (uint64_t i = 0; i < 64; ++i) lost.insert(i);
  try {
    Load(std::make_shared<IllDisk>(dataset_, lost), 1, 0, 1);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
    EXPECT_EQ(error.id(), "E-IO");
  }
}

// A tear at the end: whole samples are numbered, and so is the torn one, which is replaced.
TEST_F(ReplaceTest, TornTailsAreNumberedAndReplaced) {
  options_.shuffle_window = 100;
  const std::string whole = Shard(Good(20, 0), 0);
  const PositionedFile file([&] {
    Write("whole.tar", whole);
    return Path("whole.tar");
  }());
  const ShardIndex index = ScanShard(file);
  const SampleEntry& twelve = index.samples[12];
  struct Case {
    const char* what;
    uint64_t bytes;
    uint64_t samples;
  };
  const uint64_t image_end =
      twelve.image.offset + twelve.image.size + TarPadding(twelve.image.size);
  for (const Case& one : {
           Case{"in a picture", twelve.image.offset + 10, 13},
           Case{"in a caption", twelve.caption.offset + 3, 13},
           Case{"after a picture", image_end, 13},
           Case{"in the caption's header", image_end + 100, 13},
           // Whether sample 11 is whole nobody can tell.
           Case{"in a picture's header", twelve.image.offset - 100, 12},
           Case{"before a picture's header", twelve.image.offset - 512, 12},
           Case{"in the last padding", index.samples[19].label.offset + 5, 20},
           Case{"before the end marker", whole.size() - 1024, 20},
       }) {
    Write("torn.tar", whole.substr(0, one.bytes));
    EXPECT_THAT(MessageOf([&] { ScanShard(PositionedFile(Path("torn.tar"))); }),
                HasSubstr("E-DATA-TAR"))
        << one.what;
    testing::internal::CaptureStderr();
    const ShardHead head = ReadShardHead(Path("torn.tar"));
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr("torn.tar at byte "),
                      HasSubstr(std::to_string(one.samples - 1) + " whole samples")))
        << one.what;
    EXPECT_EQ(head.samples, one.samples) << one.what;
    const auto dataset = Dataset::OpenKnown({head});
    for (uint64_t i = 0; i + 1 < one.samples; ++i) {
      EXPECT_EQ(dataset->Read(i).image, NoisePng(6, 5, i)) << one.what;
    }
    EXPECT_EQ(dataset->Key(one.samples - 1), "torn.tar/k" + std::to_string(one.samples - 1));
    EXPECT_THAT(MessageOf([&] { dataset->Read(one.samples - 1); }),
                AllOf(HasSubstr("E-DATA-TAR"), HasSubstr("torn.tar at byte")))
        << one.what;
    if (one.samples < kBatch) continue;
    const Loaded loaded = Load(dataset, 2, 0, 3);  // an epoch leaves four out
    for (const Replaced& lost : loaded.replaced) EXPECT_EQ(lost.sample, one.samples - 1);
    EXPECT_LE(loaded.replaced.size(), 3u);
    EXPECT_GE(loaded.replaced.size(), 1u);
  }
}

// The number of samples of a data set would hang on a lie: nothing is replaced there.
TEST_F(ReplaceTest, AnIndexThatPromisesMoreThanTheShardHoldsIsAnError) {
  const std::string whole = Shard(Good(20, 0), 0);
  Write("s.tar", whole);
  ShardIndex index = ScanShard(PositionedFile(Path("s.tar")));
  for (int i = 0; i < 3; ++i) {
    index.samples.push_back({"beyond" + std::to_string(i), {whole.size() + 512, 1u << 30}, {}, {}});
  }
  WriteIndex(PosixFileSystem(), PositionedFile(Path("s.tar")), index);
  const auto dataset = Dataset::Open({Path("s.tar")});
  ASSERT_EQ(dataset->size(), 23u);
  EXPECT_THAT(MessageOf([&] { Load(dataset, 4, 0, 1); }), HasSubstr("E-DATA-INDEX"));
}

TEST(DiskPatience, TriesThreeTimesMoreAndLessWhereAShardIsBad) {
  std::vector<double> slept;
  DiskPatience patience([&](double seconds) { slept.push_back(seconds); });
  EXPECT_TRUE(patience.Wait(7, 1));
  EXPECT_TRUE(patience.Wait(7, 2));
  EXPECT_TRUE(patience.Wait(7, 3));
  EXPECT_FALSE(patience.Wait(7, 4));
  ASSERT_EQ(slept.size(), 3u);
  EXPECT_DOUBLE_EQ(slept[0], 0.1);
  EXPECT_DOUBLE_EQ(slept[1], 0.4);
  EXPECT_DOUBLE_EQ(slept[2], 1.6);
  int reads = 1;
  while (patience.Wait(7, 3)) ++reads;
  EXPECT_LT(reads, 8);
  EXPECT_FALSE(patience.Wait(7, 1));
  EXPECT_TRUE(patience.Wait(8, 1));
}

TEST(DiskPatience, KnowsWhatMayPass) {
  for (const int number : {EIO, ESTALE, ETIMEDOUT}) {
    EXPECT_TRUE(DiskPatience::MayPass(IoError(number, "a", "b"))) << number;
  }
  for (const int number : {ENOENT, EACCES, EMFILE, EPERM, EISDIR}) {
    EXPECT_FALSE(DiskPatience::MayPass(IoError(number, "a", "b"))) << number;
  }
}

}  // namespace
}  // namespace contrail::data
