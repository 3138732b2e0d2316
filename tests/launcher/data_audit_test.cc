// The audit of a run's own records: what is whole is proven, and each gap has its line.
#include "launcher/data_audit.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "common/error.h"
#include "data/order.h"
#include "data/replace.h"
#include "monitoring/recorder.h"
#include "monitoring/trained_on.h"

namespace contrail::launcher {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kBatch = 16;
constexpr uint64_t kWindow = 32;
constexpr uint64_t kSeed = 9;
const std::vector<monitor::ShardLine> kShards = {{"/d/a.tar", 1000, 40}, {"/d/b.tar", 900, 30}};

class DataAudit : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "contrail_audit_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    run_.root = pattern;
    std::ofstream(run_.Config()) << "";
  }
  void TearDown() override { std::filesystem::remove_all(run_.root); }

  // What a run takes in this place: places 7 and 50 of every epoch are replaced.
  uint64_t Take(data::Place place, uint64_t step, int attempt) {
    const uint64_t own = order_.At(place.epoch, place.position);
    if (place.position != 7 && place.position != 50) return own;
    data::Substitutes draws(kSeed, place, order_.size());
    draws.Next();
    const uint64_t with = draws.Next();
    if (written_.insert(place).second) {
      monitor::AppendReplaced(run_, {{.step = step,
                                      .epoch = place.epoch,
                                      .position = place.position,
                                      .sample = own,
                                      .key = "a.tar/" + std::to_string(own),
                                      .with = with,
                                      .with_key = "a.tar/" + std::to_string(with),
                                      .tries = 2,
                                      .why = "E-DATA-IMAGE: broken",
                                      .data = "f00d",
                                      .attempt = attempt}});
    }
    ++sum_.second;
    return with;
  }

  // Steps `from` + 1 to `to` of an attempt. `omit`: a place where its neighbour is taken instead.
  void Train(int attempt, uint64_t from, uint64_t to, std::optional<data::Place> omit = {},
             uint64_t seed = kSeed) {
    sum_ = sums_[from];
    monitor::WriteTrainedOn(run_, attempt,
                            {.resumed_step = from,
                             .world_size = 2,
                             .seed = seed,
                             .global_batch_size = kBatch,
                             .shuffle_window = kWindow,
                             .order = "interleaved",
                             .data = "f00d",
                             .consumed = sum_.first,
                             .replaced = sum_.second},
                            kShards);
    const auto recorder = monitor::Recorder::Open(
        {.run = run_, .attempt = attempt, .resumed_step = from, .total_steps = 20});
    for (uint64_t step = from + 1; step <= to; ++step) {
      const data::BatchPosition at = data::PositionOfStep(step - 1, order_.size(), kBatch);
      for (uint64_t position = at.first; position < at.first + kBatch; ++position) {
        data::Place place{at.epoch, position};
        uint64_t sample = Take(place, step, attempt);
        if (omit == place) sample = order_.At(place.epoch, place.position + 1);
        sum_.first += data::ConsumedDigest(place, sample);
      }
      sums_[step] = sum_;
      if (step % recorded_every_ != 0) continue;
      recorder->Record({.step = step,
                        .epoch = at.epoch,
                        .samples_seen = step * kBatch,
                        .loss = 1,
                        .world_size = 2,
                        .replaced = sum_.second,
                        .consumed = sum_.first});
    }
  }

  Audit Judge() const { return AuditRun(PosixFileSystem(), run_); }

  monitor::RunDir run_;
  data::SampleOrder order_{kSeed, {40, 30}, kWindow};
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> sums_;
  std::pair<uint64_t, uint64_t> sum_;
  std::set<data::Place> written_;
  uint64_t recorded_every_ = 1;
};

// 70 samples: four steps an epoch, six places left out.
TEST_F(DataAudit, AWholeRunIsProven) {
  Train(1, 0, 10);
  const Audit audit = Judge();
  EXPECT_THAT(audit.problems, IsEmpty());
  EXPECT_EQ(audit.first_step, 1u);
  EXPECT_EQ(audit.last_step, 10u);
  EXPECT_EQ(audit.samples, 160u);
  EXPECT_EQ(audit.records, 10u);
  ASSERT_EQ(audit.epochs.size(), 3u);
  EXPECT_EQ(audit.epochs[0].places, 64u);
  EXPECT_EQ(audit.epochs[0].replaced, 2u);
  EXPECT_EQ(audit.epochs[2].places, 32u);
  EXPECT_EQ(audit.replaced.size(), 5u);
  EXPECT_THAT(AuditText(audit), HasSubstr("every place was taken once"));
  EXPECT_THAT(AuditJson(audit), HasSubstr("\"proven\":true"));
}

TEST_F(DataAudit, StepsThatWereTrainedAgainCountOnce) {
  Train(1, 0, 7);
  Train(2, 4, 9);
  Train(3, 8, 12);
  const Audit audit = Judge();
  EXPECT_THAT(audit.problems, IsEmpty());
  EXPECT_EQ(audit.attempts, 3);
  EXPECT_EQ(audit.samples, 192u);
  EXPECT_EQ(audit.replaced.size(), 6u);
}

TEST_F(DataAudit, RecordsThatTelemetryDroppedAreBridged) {
  recorded_every_ = 4;
  Train(1, 0, 12);
  const Audit audit = Judge();
  EXPECT_THAT(audit.problems, IsEmpty());
  EXPECT_EQ(audit.records, 3u);
  EXPECT_EQ(audit.samples, 192u);
}

TEST_F(DataAudit, StepsThatNobodyTrainedAreAGap) {
  Train(1, 0, 4);
  Train(3, 6, 9);  // goes on from a step that no attempt has trained
  EXPECT_THAT(Judge().problems, ElementsAre(HasSubstr("steps 5 to 7 (attempt 3)")));
}

TEST_F(DataAudit, ASampleTakenTwiceIsFoundToTheStep) {
  Train(1, 0, 10, data::Place{1, 20});
  const Audit audit = Judge();
  ASSERT_EQ(audit.problems.size(), 1u);
  EXPECT_THAT(audit.problems[0], AllOf(HasSubstr("step 6 (attempt 1)"), HasSubstr("doubled")));
  EXPECT_THAT(AuditText(audit), HasSubstr("NOT PROVEN: step 6"));
}

TEST_F(DataAudit, ALostLineOfReplacedIsMissed) {
  Train(1, 0, 10);
  std::ifstream in(run_.Replaced());
  std::string kept, line;
  for (int i = 0; std::getline(in, line); ++i) kept += i == 3 ? "" : line + "\n";
  std::ofstream(run_.Replaced()) << kept;
  const Audit audit = Judge();
  ASSERT_EQ(audit.problems.size(), 1u);
  EXPECT_THAT(audit.problems[0], AllOf(HasSubstr("step 8 (attempt 1)"),
                                       HasSubstr("1 samples were replaced"), HasSubstr("names 0")));
}

TEST_F(DataAudit, ASubstituteThatTheRuleDoesNotDrawIsNamed) {
  Train(1, 0, 4);
  std::vector<monitor::ReplacedSample> lines = monitor::ReadReplaced(run_);
  lines[0].tries = 1;
  monitor::AppendReplaced(run_, {lines[0]});
  EXPECT_THAT(Judge().problems,
              ElementsAre(AllOf(HasSubstr("epoch 0, position 7"), HasSubstr("does not draw"))));
}

TEST_F(DataAudit, AnotherSeedInTheMiddleOfAnEpochTakesSamplesTwice) {
  Train(1, 0, 1);
  order_ = data::SampleOrder(kSeed + 1, {40, 30}, kWindow);
  Train(2, 1, 2, {}, kSeed + 1);
  EXPECT_THAT(Judge().problems, ElementsAre(AllOf(HasSubstr("epoch 0"), HasSubstr("taken twice"),
                                                  HasSubstr(".tar, sample "))));
}

TEST_F(DataAudit, WhatIsNotRecordedIsNotProven) {
  EXPECT_THAT(Judge().problems, ElementsAre(HasSubstr("no step")));
  Train(1, 0, 6);
  std::filesystem::remove(run_.Shards("f00d"));
  EXPECT_THAT(Judge().problems,
              testing::Contains(AllOf(HasSubstr("shards_f00d.json"), HasSubstr("missing"))));
  std::filesystem::remove_all(run_.root);
  EXPECT_THROW(Judge(), Error);
}

}  // namespace
}  // namespace contrail::launcher
