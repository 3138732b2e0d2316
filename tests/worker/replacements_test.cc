// What becomes of replaced samples: the record, the count and the limit.
#include "worker/replacements.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "monitoring/run_files.h"

namespace contrail::worker {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ReplacementsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "contrail_replaced_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    options_.writer.run.root = pattern;
    options_.data = "f00d";
    options_.global_batch_size = 100;
    options_.limit = 0.1;
    const Writer& writer = options_.writer;
    monitor::WriteLease(writer.run, {.owner = writer.owner, .attempt = writer.attempt});
  }
  void TearDown() override { std::filesystem::remove_all(options_.writer.run.root); }

  Replacements Make() { return Replacements(*comm_, options_); }

  static data::Replaced At(uint64_t position, uint64_t with = 900) {
    return {.place = {0, position},
            .sample = position + 1,
            .key = "a.tar/" + std::to_string(position),
            .with = with,
            .with_key = "b.tar/x",
            .tries = 1,
            .why = "E-DATA-IMAGE: broken"};
  }

  // A step whose rows from its first position on are replaced.
  static std::vector<data::Replaced> Rows(uint64_t done, uint64_t count) {
    std::vector<data::Replaced> rows;
    for (uint64_t i = 0; i < count; ++i) rows.push_back(At(done * 100 + i));
    return rows;
  }
  static void Count(Replacements& all, uint64_t done, uint64_t count) {
    all.Count(done, {.replaced = static_cast<int64_t>(count), .consumed = done + 7},
              Rows(done, count));
  }
  std::vector<monitor::ReplacedSample> OnDisk() const {
    return monitor::ReadReplaced(options_.writer.run);
  }
  uint64_t Bytes() const { return std::filesystem::file_size(options_.writer.run.Replaced()); }

  std::unique_ptr<Comm> comm_ = MakeSingleComm();
  Replacements::Options options_;
};

TEST_F(ReplacementsTest, WhatIsCountedIsOnDisk) {
  Replacements all = Make();
  Count(all, 0, 0);
  EXPECT_TRUE(OnDisk().empty());
  testing::internal::CaptureStderr();
  Count(all, 1, 2);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("a.tar/101 (epoch 0, position 101) cannot be used, and b.tar/x"),
                    HasSubstr("2 samples are replaced so far, 1 % of those seen")));
  ASSERT_EQ(OnDisk().size(), 2u);
  EXPECT_EQ(OnDisk()[0].step, 2u);
  EXPECT_EQ(OnDisk()[0].why, "E-DATA-IMAGE: broken");
  EXPECT_EQ(all.replaced(), 2u);
  EXPECT_EQ(all.consumed(), 7u + 8u);
  EXPECT_EQ(all.KeyAt({0, 100}), "b.tar/x");
  testing::internal::CaptureStderr();
  Count(all, 2, 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "not more than once a minute";
  EXPECT_EQ(all.KeyAt({0, 100}), "");
}

TEST_F(ReplacementsTest, AStepTrainedAgainIsWrittenOnceAndCountedOnce) {
  {
    Replacements all = Make();
    Count(all, 0, 1);
    Count(all, 1, 2);
    Count(all, 2, 3);
  }
  const uint64_t bytes = Bytes();
  // Killed; the checkpoint held one step.
  options_.resumed_step = 1;
  options_.replaced = 1;
  Replacements again = Make();
  EXPECT_EQ(again.known()->size(), 5u);
  EXPECT_EQ(again.known()->at({0, 100}).with, 900u);
  Count(again, 1, 2);
  Count(again, 2, 3);
  EXPECT_EQ(Bytes(), bytes);
  EXPECT_EQ(again.replaced(), 6u);
  // Another substitute than before: the last line holds.
  again.Count(3, {.replaced = 1}, {At(300, 5)});
  again.Count(3, {.replaced = 1}, {At(300, 6)});
  EXPECT_EQ(OnDisk().size(), 7u);
  EXPECT_EQ(OnDisk().back().with, 6u);
  options_.data = "beef";
  EXPECT_TRUE(Make().known()->empty());
}

TEST_F(ReplacementsTest, ATornLineIsClosed) {
  {
    Replacements all = Make();
    Count(all, 0, 2);
  }
  std::filesystem::resize_file(options_.writer.run.Replaced(), Bytes() - 20);
  EXPECT_EQ(OnDisk().size(), 1u);
  Replacements again = Make();
  Count(again, 0, 2);
  EXPECT_EQ(OnDisk().size(), 2u);
}

TEST_F(ReplacementsTest, TheLimitIsAFunctionOfTheStep) {
  Replacements all = Make();
  Count(all, 0, 10);  // a tenth, and no more than ten
  const auto refused = [&](Replacements& which, uint64_t done, uint64_t count) -> std::string {
    try {
      Count(which, done, count);
    } catch (const TooManyReplaced& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUser);
      EXPECT_TRUE(error.speaks());
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refused(all, 1, 10), "");  // 20 of 200
  EXPECT_THAT(refused(all, 2, 11),
              AllOf(HasSubstr("E-DATA-REPLACED: "), HasSubstr("replaced.jsonl: 31 of 300"),
                    HasSubstr("data.max_replaced = 0.1"), HasSubstr("a.tar/0, a.tar/1")));
  EXPECT_EQ(all.replaced(), 20u) << "the step does not count";
  EXPECT_EQ(OnDisk().size(), 31u) << "but its samples are named";
  options_.resumed_step = 2;
  options_.replaced = 20;
  Replacements again = Make();
  EXPECT_THAT(refused(again, 2, 11), HasSubstr("31 of 300"));
  EXPECT_EQ(OnDisk().size(), 31u);
  options_.limit = 0.2;
  Replacements larger = Make();
  EXPECT_EQ(refused(larger, 2, 11), "");
  EXPECT_EQ(larger.replaced(), 31u);
  // Eleven samples of a young run, within the limit and beyond it.
  options_ = {.writer = options_.writer, .data = "beef", .global_batch_size = 100, .limit = 0.5};
  Replacements young = Make();
  EXPECT_EQ(refused(young, 0, 11), "");
  options_.limit = 0.001;
  Replacements strict = Make();
  EXPECT_THAT(refused(strict, 0, 11), HasSubstr("11 of 100"));
}

TEST_F(ReplacementsTest, ALimitOfNothingReplacesNothing) {
  options_.limit = 0;
  EXPECT_EQ(Make().known(), nullptr);
}

}  // namespace
}  // namespace contrail::worker
